#include "cpu.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
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

namespace {

int number_named(const char *variable) {
  const char *named = std::getenv(variable);
  const int count = named == nullptr ? 0 : std::atoi(named);  // of OMP_NUM_THREADS=4,2 the first
  return count > 0 ? count : 0;
}

// The two numbers that a file begins with; 0 for what is not there, or is no number, as "max" for no limit.
std::array<double, 2> numbers_in(const std::string &path) {
  std::array<double, 2> found{};
  if (std::FILE *const file = std::fopen(path.c_str(), "r")) {
    if (std::fscanf(file, "%lf %lf", &found[0], &found[1]) < 1) found = {};
    std::fclose(file);
  }
  return found;
}

// Processors that a group of processes may keep busy, rounded up; 0 where nothing is said.
int processors_of(double quota, double period) {
  return quota > 0.0 && period > 0.0 ? std::max(1, static_cast<int>(std::ceil(quota / period))) : 0;
}

int quota_in(const std::string &folder) {
  const std::array<double, 2> both = numbers_in(folder + "/cpu.max");  // cgroup v2
  if (const int count = processors_of(both[0], both[1])) return count;
  // v1, with a quota of -1 for no limit
  return processors_of(numbers_in(folder + "/cpu.cfs_quota_us")[0], numbers_in(folder + "/cpu.cfs_period_us")[0]);
}

// The least quota of this process's control group and of those around it; 0 for none. A container gets one that way:
// cores that it sees and may not use.
int read_quota() {
  int least = 0;
  const char *named = std::getenv("THROUGHTIME_CGROUP");
  const std::string root = named == nullptr || *named == '\0' ? "/sys/fs/cgroup" : named;
  const auto look = [&](const std::string &mount, std::string path) {
    for (;;) {
      const int count = quota_in(mount + path);
      if (count > 0 && (least == 0 || count < least)) least = count;
      if (path.empty()) return;
      path.erase(path.rfind('/'));  // the path begins with one
    }
  };
  std::FILE *const groups = std::fopen("/proc/self/cgroup", "r");
  char line[4096];
  while (groups != nullptr && std::fgets(line, sizeof line, groups) != nullptr) {
    std::string said(line);  // number:controllers:path
    said.erase(said.find_last_not_of("\n") + 1);
    const size_t first = said.find(':'), second = said.find(':', first + 1);
    if (second == std::string::npos || said[second + 1] != '/') continue;
    const std::string controllers = "," + said.substr(first + 1, second - first - 1) + ",";
    std::string path = said.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers == ",,") look(root, path);
    if (controllers.find(",cpu,") != std::string::npos) {
      look(root + "/cpu", path);
      look(root + "/cpu,cpuacct", path);
    }
  }
  if (groups != nullptr) std::fclose(groups);
  return least;
}

}  // namespace

int resolve_threads(int32_t asked) {
  if (asked > 0) return asked;
  if (const int named = number_named("THROUGHTIME_THREADS")) return named;
  static const int quota = read_quota();  // once, since this is asked in each call
  int count = available_processors();
  if (quota > 0) count = std::min(count, quota);
  if (const int named = number_named("OMP_NUM_THREADS")) count = std::min(count, named);
  return count;
}

}  // namespace tt
