"""Reads Debian's package index from the lists that apt keeps on this machine.

Nothing is downloaded here. `apt-get update -o Acquire::Languages=en` fetches the
lists beforehand, with the English descriptions (Translation-en). Only lists of
Debian's own, component main, amd64, of the wanted release are read; a package
that occurs in several of them (release, updates, security) counts once, in its
newest version; of equal versions the release's own record counts, for that of
security lacks the tags.
"""

import re
import shutil
import subprocess
from collections import Counter

from common import fail, say

APT_HELPER = "/usr/lib/apt/apt-helper"
HINT = "run: apt-get update -o Acquire::Languages=en"


def list_files(kind, codename):
    """Paths of apt's lists of one kind ("Packages" or "Translations"), the release's own first."""
    if not shutil.which("apt-get"):
        fail("apt-get was not found: this script needs a Debian machine or container")
    command = ["apt-get", "indextargets", "-o", "Acquire::Languages=en",
               "--format", "$(CODENAME) $(FILENAME)", f"Created-By: {kind}",
               "Origin: Debian", "Component: main"]
    command.append("Architecture: amd64" if kind == "Packages" else "Language: en")
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths = []
    for line in found.splitlines():
        name, _, path = line.partition(" ")
        if name == codename or name.startswith(codename + "-"):
            paths.append((name != codename, path))
    if not paths:
        fail(f"apt has no {kind} list of Debian {codename}; {HINT}")
    return [path for _, path in sorted(set(paths))]


def paragraphs(path):
    """The paragraphs of one list, each a dict of its fields, continuation lines kept."""
    run = subprocess.run([APT_HELPER, "cat-file", path], capture_output=True)
    if run.returncode != 0:
        fail(f"cannot read {path}: {run.stderr.decode().strip()}; {HINT}")
    for block in run.stdout.decode("utf-8").split("\n\n"):
        fields, name = {}, None
        for line in block.splitlines():
            if line[0] in " \t":
                fields[name] += "\n" + line
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def is_newer(version, than):
    command = ["dpkg", "--compare-versions", version, "gt", than]
    return version != than and subprocess.run(command).returncode == 0


def packages(codename):
    """Name to fields of each package's newest version, sorted by name."""
    newest = {}
    for path in list_files("Packages", codename):
        say(f"  reading {path.rsplit('/', 1)[-1]}")
        for fields in paragraphs(path):
            known = newest.get(fields["Package"])
            if known is None or is_newer(fields["Version"], known["Version"]):
                newest[fields["Package"]] = fields
    return dict(sorted(newest.items()))


def descriptions(codename):
    """Description-md5 to the English description: a synopsis line, then indented text."""
    found = {}
    for path in list_files("Translations", codename):
        say(f"  reading {path.rsplit('/', 1)[-1]}")
        for fields in paragraphs(path):
            found[fields["Description-md5"]] = fields["Description-en"]
    return found


def flatten(description):
    """(synopsis, long text on one line); a lone dot marks an empty line in the index."""
    synopsis, _, rest = description.partition("\n")
    lines = (line.strip() for line in rest.splitlines())
    return synopsis.strip(), " ".join(" ".join(line for line in lines if line != ".").split())


def required(fields):
    """Names in Depends and Recommends, of alternatives the first."""
    names = set()
    for field in ("Depends", "Recommends"):
        for clause in fields.get(field, "").split(","):
            match = re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", clause)
            if match:
                names.add(match.group(1))
    return names


def items(found):
    """The catalogue rows of these packages, in their order."""
    popularity = Counter(name for fields in found.values() for name in required(fields))
    return [{
        "id": name,
        "source": fields.get("Source", name).split()[0],
        "section": fields.get("Section", "misc"),
        "maintainer": re.sub(r"\s*<.*", "", fields["Maintainer"]),
        "size_kib": int(fields.get("Installed-Size", 0)),
        "rdeps": popularity[name],
        "tags": sorted(tag.strip() for tag in fields.get("Tag", "").split(",") if tag.strip()),
    } for name, fields in found.items()]
