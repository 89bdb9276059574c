// Completion of the command line by a shell: a script with all verbs, flags and values, made from
// the tables with which the command line is parsed. So the script needs neither this program nor a
// server when it runs.
#ifndef RAFTKV_CLIENT_CLI_COMPLETION_H_
#define RAFTKV_CLIENT_CLI_COMPLETION_H_

#include <CLI/CLI.hpp>
#include <string>

namespace raftkv::client {

// Scripts for `app`, to be sourced by the shell or installed in its directory of completions.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_COMPLETION_H_
