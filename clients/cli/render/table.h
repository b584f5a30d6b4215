// Tables without borders.
#pragma once

#include <string>
#include <vector>

#include "clients/cli/render/style.h"

namespace dstack::cli {

// What a table is drawn on.
struct Screen {
  // Columns of the terminal; 0: no limit (a pipe or a file).
  int width = 0;
  bool has_color = false;
};

struct Cell {
  std::string text;
  Style style = Style::kPlain;
};

struct Column {
  std::string title;
  // May be cut when the table is wider than the screen; of several ones the last is cut first.
  bool can_shrink = false;
};

// Rows of cells below bold titles. Cells hold one line of plain text: whatever comes from elsewhere
// is made harmless here. Rows may be shorter than the list of columns.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void AddRow(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }

  // One line per row, each ended by '\n', without blanks at the end. On screens of up to 110
  // columns the space that is left is spread over the gaps.
  std::string Render(const Screen& screen) const;

 private:
  std::vector<size_t> Widths(const Screen& screen) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace dstack::cli
