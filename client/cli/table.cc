#include "client/cli/table.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace raftkv::client {

void Table::Add(std::vector<std::string> row) {
  CHECK_EQ(row.size(), header_.size());
  rows_.push_back(std::move(row));
}

std::string Table::Render() const {
  std::vector<size_t> widths;
  for (size_t column = 0; column < header_.size(); ++column) {
    size_t width = header_[column].size();
    for (const auto& row : rows_) width = std::max(width, row[column].size());
    widths.push_back(width);
  }
  std::string rule = "+";
  for (size_t width : widths) absl::StrAppend(&rule, std::string(width + 2, '-'), "+");
  absl::StrAppend(&rule, "\n");

  std::string text = rule;
  for (size_t column = 0; column < header_.size(); ++column) {
    const size_t gap = widths[column] - header_[column].size();
    absl::StrAppend(&text, "| ", std::string(gap / 2, ' '), header_[column],
                    std::string(gap - gap / 2, ' '), " ");
  }
  absl::StrAppend(&text, "|\n", rule);
  for (const auto& row : rows_) {
    for (size_t column = 0; column < row.size(); ++column) {
      absl::StrAppend(&text, "| ", std::string(widths[column] - row[column].size(), ' '),
                      row[column], " ");
    }
    absl::StrAppend(&text, "|\n");
  }
  if (!rows_.empty()) absl::StrAppend(&text, rule);
  return text;
}

}  // namespace raftkv::client
