// A table of text with a header row, drawn as etcdctl draws it: header centred in capitals, cells
// to the right. Widths count bytes; what raftkv prints in tables is ASCII.
#ifndef RAFTKV_CLIENT_CLI_TABLE_H_
#define RAFTKV_CLIENT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace raftkv::client {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  void Add(std::vector<std::string> row);  // as many cells as the header has
  std::string Render() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace raftkv::client

#endif  // RAFTKV_CLIENT_CLI_TABLE_H_
