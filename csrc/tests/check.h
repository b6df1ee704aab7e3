// Named tests and what they check. A failure is printed and counted, and the test goes on.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace check {

struct Test {
  std::string name;
  std::function<void()> run;
};

std::vector<Test> &tests();

// Registers a test before main() runs.
struct Registered {
  Registered(const char *name, void (*run)()) { tests().push_back({name, run}); }
};

// Prints what failed, once for each line of the sources and test; may be called from several threads.
void failed(const char *file, int line, const std::string &what);

// How many failures the test that runs has had.
int failures();

}  // namespace check

#define TEST(name)                                          \
  static void name();                                       \
  static const check::Registered registered_##name(#name, name); \
  static void name()

#define EXPECT(condition, what)                                                                          \
  do {                                                                                                   \
    if (!(condition)) check::failed(__FILE__, __LINE__, std::string(#condition ": ") + std::string(what)); \
  } while (false)
