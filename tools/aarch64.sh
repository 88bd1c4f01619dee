#!/bin/sh
# Builds the kernels and their tests for 64-bit ARM, and runs them on an x86-64 Debian under qemu: once as a processor
# with dot products, once as one without. First, once:
#
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
#
# The compiler is Debian's newest (bookworm has it as rustc-web), for its standard library exists for both processors.
# It is unpacked below the target directory and installed nowhere. Kernels are a crate of their own here, since the
# whole library takes ten times as long to build.
set -eu
cd "$(dirname "$0")/.."
sources=$PWD/src
place=${CARGO_TARGET_DIR:-$PWD/target}/aarch64
compiler=$place/compiler

depends() { apt-cache depends "$1" | sed -n "s/.*Depends: \($2\)\$/\1/p"; }

if [ ! -x "$compiler/rustc" ]; then
    mkdir -p "$place/packages" "$compiler"
    library=$(depends rustc-web 'libstd-rust-web-dev')
    runtime=$(depends "$library" 'libstd-rust-web-[0-9.]*')
    llvm=$(depends "$runtime" 'libllvm[0-9]*')
    (
        cd "$place/packages"
        apt-get download rustc-web "$library" "$library:arm64" "$runtime" "$llvm" libz3-4 libxml2 libicu72
        for package in *.deb; do dpkg-deb -x "$package" "$compiler"; done
    )
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' \
        "$compiler/usr/lib/x86_64-linux-gnu" "$compiler/usr/bin/rustc" >"$compiler/rustc"
    chmod +x "$compiler/rustc"
fi

mkdir -p "$place/kernels"
cp Cargo.lock "$place/kernels"
cat >"$place/kernels/lib.rs" <<END
pub mod vector {
    #[path = "$sources/vector/element.rs"]
    pub mod element;
    #[path = "$sources/vector/kernel/mod.rs"]
    pub mod kernel;
    pub use element::Element;
}
END
cat >"$place/kernels/Cargo.toml" <<END
[package]
name = "kernels"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
bytemuck = { version = "1.25", features = ["derive"] }
half = "2.7"
serde = { version = "1", features = ["derive"] }
simsimd = "6.5.16"
thiserror = "2"
utoipa = "6"
[profile.test]
opt-level = 2
[workspace]
END

export RUSTC="$compiler/rustc" CARGO_TARGET_DIR="$place"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
for processor in max cortex-a53; do
    echo "qemu as $processor"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $processor -L /usr/aarch64-linux-gnu"
    cargo test --manifest-path "$place/kernels/Cargo.toml" --target aarch64-unknown-linux-gnu --lib -- --nocapture
done
