#!/usr/bin/env python3
"""Checks that unity.py finds names that clash, and only those."""

import sys
import unittest

sys.dont_write_bytecode = True
import unity  # noqa: E402

FIRST = """
namespace raftkv {
namespace {

constexpr int kLimit = 3, kOther = 4;
struct Row {
  int Size() const { return 0; }
};
std::map<int, int> rows;
using Kind = Row::Kind;
template <typename T>
int Sum(const T& many, int more = 0) {
  return more;
}
int Size(const std::string& text,
         int most) {
  return most;
}

}  // namespace

constexpr int kShared = 1;

}  // namespace raftkv
"""


def found(second, cmake="add_library(a STATIC first.cc second.cc)", targets=None):
    texts = {"first.cc": FIRST, "second.cc": second, "x/third.cc": second}
    return [fault.split(" is also")[0].split(": ")[1] for fault in unity.faults(
        targets or list(unity.targets("", cmake)), texts.get)]


def anonymous(text, space="raftkv"):
    return "namespace %s {\nnamespace {\n%s\n}  // namespace\n}  // namespace %s\n" % (
        space, text, space)


class Unity(unittest.TestCase):
    def test_clashes_are_found(self):
        for text, name in [
            ("constexpr char kLimit = 'x';", "kLimit"),
            ("struct Row {};", "Row"),
            ("enum class Row { kOne };", "Row"),
            ("bool rows[2];", "rows"),
            ("using Kind = Other::Kind;", "Kind"),
            ("using Row = Other::Row;", "Row"),
            ("int kLimit() {\n  return 1;\n}", "kLimit"),
            ("int Size(const std::string& name, int least = 0) {\n  return 0;\n}", "Size"),
        ]:
            self.assertEqual(found(anonymous(text)), [name], text)

    def test_other_names_pass(self):
        for text in ["int Size(int most) {\n  return most;\n}",    # other parameters
                     "int Row() {\n  return 1;\n}",                # a function may hide a type
                     "struct Row;", "using etcdserverpb::Row;", "using Kind = Row::Kind;", "namespace rows = std::filesystem;",
                     "void Use() {\n  const int kLimit = 3;\n}",   # local
                     "constexpr int kShared = 2;"]:                # first.cc: not anonymous
            self.assertEqual(found(anonymous(text)), [], text)
        self.assertEqual(found(anonymous("struct Row {};", "other")), [])

    def test_targets(self):
        clash = anonymous("struct Row {};")
        apart = "add_library(a STATIC first.cc)  # second.cc\nadd_library(b STATIC second.cc)\n"
        self.assertEqual(found(clash, apart), [])
        excluded = "add_library(a STATIC first.cc second.cc)\n"
        self.assertEqual(found(clash, excluded +
                               "set_source_files_properties(second.cc PROPERTIES "
                               "SKIP_UNITY_BUILD_INCLUSION ON)"), [])
        self.assertEqual(found(clash, excluded +
                               "set_target_properties(a PROPERTIES UNITY_BUILD OFF)"), [])
        folder = list(unity.targets("x", "add_executable(a ${PROJECT_SOURCE_DIR}/first.cc third.cc)"))
        self.assertEqual(found(clash, targets=folder), ["Row"])
        simulated = [("raftkv_state", ["first.cc"]), ("raftkv_sim_world", ["second.cc"])]
        self.assertEqual(found(clash, targets=simulated), ["Row"])


if __name__ == "__main__":
    unittest.main()
