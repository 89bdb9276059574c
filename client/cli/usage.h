// What the parser of command lines lacks: numbers that say what is wrong with them, and errors that
// say what to do. Used by every verb, and by the lines of a transaction.
#ifndef RAFTKV_CLIENT_CLI_USAGE_H_
#define RAFTKV_CLIENT_CLI_USAGE_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace raftkv::client {

// Whole numbers from 0 up.
CLI::Option* AddNumber(CLI::App& app, const char* name, int64_t& number, const char* what);
CLI::Option* AddNumber(CLI::App& app, const char* name, int& number, const char* what);
CLI::Option* AddNumber(CLI::App& app, const char* name, double& number, const char* what);

// One line on why `root` could not parse its command line: an unknown verb, with the verb that was
// probably meant; an unknown flag; a superfluous argument; or the parser's own words. Ends with
// where to read on, if `root` offers help.
std::string Explain(const CLI::App& root, const CLI::ParseError& error);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_USAGE_H_
