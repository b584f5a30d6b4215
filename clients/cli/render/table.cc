#include "clients/cli/render/table.h"

#include <algorithm>

#include "clients/cli/render/text.h"

namespace dstack::cli {
namespace {

constexpr size_t kGap = 2;
constexpr size_t kMinimalWidth = 6;
// Wider terminals keep tables as narrow as their content.
constexpr int kStretchUpTo = 110;

size_t Total(const std::vector<size_t>& widths) {
  size_t total = 1;  // the blank at the left
  for (const size_t width : widths) total += width + kGap;
  return widths.empty() ? total : total - kGap;
}

void Shrink(const std::vector<Column>& columns, size_t limit, std::vector<size_t>* widths) {
  for (size_t i = columns.size(); i-- > 0 && Total(*widths) > limit;) {
    if (!columns[i].can_shrink) continue;
    const size_t surplus = Total(*widths) - limit;
    const size_t floor = std::min((*widths)[i], kMinimalWidth);
    (*widths)[i] = std::max(floor, (*widths)[i] - std::min((*widths)[i], surplus));
  }
}

void Stretch(size_t limit, std::vector<size_t>* widths) {
  if (widths->size() < 2 || Total(*widths) >= limit) return;
  const size_t gaps = widths->size() - 1;
  const size_t surplus = limit - Total(*widths);
  for (size_t i = 0; i < gaps; ++i) (*widths)[i] += surplus / gaps + (i < surplus % gaps ? 1 : 0);
}

std::string Line(const std::vector<Cell>& cells,
                 const std::vector<size_t>& widths,
                 bool has_color) {
  std::string line;
  size_t pending_blanks = 1;
  for (size_t i = 0; i < cells.size() && i < widths.size(); ++i) {
    const std::string text = Truncate(Neutralise(cells[i].text), widths[i]);
    if (!text.empty()) {
      line.append(pending_blanks, ' ');
      line += Paint(text, cells[i].style, has_color);
      pending_blanks = 0;
    }
    pending_blanks += widths[i] - DisplayWidth(text) + kGap;
  }
  return line + "\n";
}

}  // namespace

std::vector<size_t> Table::Widths(const Screen& screen) const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(DisplayWidth(column.title));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], DisplayWidth(Neutralise(row[i].text)));
    }
  }
  if (screen.width <= 0) return widths;
  const auto limit = static_cast<size_t>(screen.width);
  Shrink(columns_, limit, &widths);
  if (screen.width <= kStretchUpTo) Stretch(limit, &widths);
  return widths;
}

std::string Table::Render(const Screen& screen) const {
  const std::vector<size_t> widths = Widths(screen);
  std::vector<Cell> titles;
  for (const Column& column : columns_) titles.push_back({column.title, Style::kBold});
  std::string text = Line(titles, widths, screen.has_color);
  for (const auto& row : rows_) text += Line(row, widths, screen.has_color);
  return text;
}

}  // namespace dstack::cli
