#include "cpu.h"

#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "throughtime.h"

namespace tt {

bool isa_supported(int32_t isa) {
  if (isa == TT_ISA_PORTABLE) return true;
#if defined(TT_X86)
  if (isa == TT_ISA_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == TT_ISA_AVX512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && isa_supported(TT_ISA_AVX2);
  }
#endif
  return false;
}

int32_t resolve_isa(int32_t asked) {
  if (asked == TT_ISA_AUTO) {
    const char *named = std::getenv("THROUGHTIME_ISA");
    if (named == nullptr || *named == '\0' || std::strcmp(named, "auto") == 0) {
      for (int32_t isa = TT_ISA_AVX512; isa > TT_ISA_PORTABLE; --isa) {
        if (isa_supported(isa)) return isa;
      }
      return TT_ISA_PORTABLE;
    }
    if (std::strcmp(named, "portable") == 0) asked = TT_ISA_PORTABLE;
    if (std::strcmp(named, "avx2") == 0) asked = TT_ISA_AVX2;
    if (std::strcmp(named, "avx512") == 0) asked = TT_ISA_AVX512;
  }
  return isa_supported(asked) ? asked : 0;
}

int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return count;
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count > 0 ? static_cast<int>(count) : 1;
}

int resolve_threads(int32_t asked) {
  if (asked > 0) return asked;
  if (const char *named = std::getenv("THROUGHTIME_THREADS")) {
    const int count = std::atoi(named);
    if (count > 0) return count;
  }
  return available_processors();
}

}  // namespace tt
