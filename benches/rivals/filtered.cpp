// Filtered search of hnswlib and usearch as their C++ users have it: native.py compiles this against the headers of their source
// packages and calls it once a query. The Python bindings would call Python for each node (hnswlib), or cannot filter (usearch).
//
// A mask is packed bits, the first item lowest. A search writes at most k ids and returns how many; -1 is a failure.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <hnswlib/hnswlib.h>
#include <usearch/index_dense.hpp>

namespace {

bool passes(const uint8_t* mask, size_t id) { return mask[id / 8] >> (id % 8) & 1; }

struct Mask : hnswlib::BaseFilterFunctor {
    const uint8_t* bits = nullptr;
    bool operator()(hnswlib::labeltype id) override { return passes(bits, id); }
};

struct Hnswlib {
    std::unique_ptr<hnswlib::SpaceInterface<float>> space;
    std::unique_ptr<hnswlib::HierarchicalNSW<float>> index;
};

using Usearch = unum::usearch::index_dense_t;

}  // namespace

extern "C" {

void* hnswlib_open(const char* path, size_t dimensions, bool l2) try {
    auto opened = std::make_unique<Hnswlib>();
    if (l2) opened->space = std::make_unique<hnswlib::L2Space>(dimensions);
    else opened->space = std::make_unique<hnswlib::InnerProductSpace>(dimensions);
    opened->index = std::make_unique<hnswlib::HierarchicalNSW<float>>(opened->space.get(), std::string(path));
    return opened.release();
} catch (...) {
    return nullptr;
}

int64_t hnswlib_search(void* opened, const float* query, const uint8_t* mask, size_t k, size_t ef, int32_t* ids) try {
    auto& index = *static_cast<Hnswlib*>(opened)->index;
    index.setEf(ef);
    Mask filter;
    filter.bits = mask;
    auto found = index.searchKnn(query, k, &filter);  // the farthest first
    const int64_t count = found.size();
    for (int64_t at = count; at-- > 0; found.pop()) ids[at] = static_cast<int32_t>(found.top().second);
    return count;
} catch (...) {
    return -1;
}

void* usearch_open(const char* path) try {
    auto made = Usearch::make(path);
    if (!made) return nullptr;
    return new Usearch(std::move(made.index));
} catch (...) {
    return nullptr;
}

int64_t usearch_search(void* opened, const float* query, const uint8_t* mask, size_t k, size_t ef, int32_t* ids) try {
    auto& index = *static_cast<Usearch*>(opened);
    index.change_expansion_search(ef);
    auto found = index.filtered_search(query, k, [mask](Usearch::vector_key_t id) { return passes(mask, id); });
    if (!found) return -1;
    for (size_t at = 0; at != found.size(); ++at) ids[at] = static_cast<int32_t>(found[at].member.key);
    return static_cast<int64_t>(found.size());
} catch (...) {
    return -1;
}
}
