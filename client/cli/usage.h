// Clear error messages on top of CLI11: for numbers, and for command lines that do not parse. Used
// by every verb, and for the lines of a transaction.
#ifndef RAFTKV_CLIENT_CLI_USAGE_H_
#define RAFTKV_CLIENT_CLI_USAGE_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace raftkv::client {

// Add a number option. Integers must not be negative.
CLI::Option* AddNumber(CLI::App& app, const char* name, int64_t& number, const char* what);
CLI::Option* AddNumber(CLI::App& app, const char* name, int& number, const char* what);
CLI::Option* AddNumber(CLI::App& app, const char* name, double& number, const char* what);

// One line that says why `root` could not parse its command line: an unknown verb (with the verb
// that was probably meant), an unknown flag, an unexpected argument, or CLI11's own message. Names
// --help, if `root` has it.
std::string Explain(const CLI::App& root, const CLI::ParseError& error);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_USAGE_H_
