// Formats a text table as etcdctl does: header centred, cells right-aligned. Widths count bytes,
// since raftkv prints only ASCII in tables.
#ifndef RAFTKV_CLIENT_CLI_TABLE_H_
#define RAFTKV_CLIENT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace raftkv::client {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row);  // must have as many cells as the header
  std::string Render() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_TABLE_H_
