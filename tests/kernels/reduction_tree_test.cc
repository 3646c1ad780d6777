// The reduction tree: every leaf once and in order, the same expression for any number of parts, slots as large as they
// can be.
#include "kernels/reduction_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "kernels/base/limits.h"

namespace echelon {
namespace {

constexpr int64_t kGrains[] = {1, 2, 3, 4, 5, 7, 8, 9, 14, 16, 23, 24, 25, 32, 48, 71, 100, 224, 1000003};

std::string range_name(int64_t first, int64_t count) { return fmt::format("[{}+{}]", first, count); }

/// A postfix machine over strings: values are written as the sums they stand for.
struct Machine {
  std::vector<std::string> stack;
  size_t deepest = 0;

  void push(std::string value, int merges) {
    stack.push_back(std::move(value));
    deepest = std::max(deepest, stack.size());
    for (int m = 0; m < merges; ++m) {
      ASSERT_GE(stack.size(), 2u);
      const std::string top = stack.back();
      stack.pop_back();
      stack.back() = "(" + stack.back() + "+" + top + ")";
    }
  }
};

std::vector<std::string> slots_of(const ReductionTree& tree, int part) {
  Machine machine;
  std::vector<std::string> slots;
  for (const ReductionTree::Leaf& leaf : tree.leaves(part)) {
    machine.push(range_name(leaf.first_grain, leaf.num_grains), leaf.merges);
    if (leaf.slot < 0) continue;
    EXPECT_EQ(leaf.slot, static_cast<int>(slots.size()));
    EXPECT_EQ(machine.stack.size(), 1u);
    slots.push_back(machine.stack.back());
    machine.stack.clear();
  }
  EXPECT_TRUE(machine.stack.empty());
  EXPECT_LE(machine.deepest, static_cast<size_t>(kMaxReductionDepth));
  EXPECT_EQ(static_cast<int>(slots.size()), tree.num_slots(part));
  return slots;
}

std::string whole_expression(const ReductionTree& tree) {
  Machine machine;
  int next = 0;
  for (int part = 0; part < tree.num_parts(); ++part) {
    EXPECT_EQ(tree.first_slot(part), next);
    for (const std::string& slot : slots_of(tree, part)) machine.push(slot, tree.finish_merges()[next++]);
  }
  EXPECT_EQ(next, tree.total_slots());
  EXPECT_EQ(machine.stack.size(), 1u);
  EXPECT_LE(machine.deepest, static_cast<size_t>(kMaxReductionDepth));
  return machine.stack.back();
}

/// The definition, written another way: add() of what is there.
std::string expression_by_definition(int64_t num_grains) {
  const auto add = [](const std::string& a, const std::string& b) {
    return a.empty() ? b : b.empty() ? a : "(" + a + "+" + b + ")";
  };
  const auto leaf = [&](int s) {
    const int64_t first = num_grains * s / 24, end = num_grains * (s + 1) / 24;
    return first == end ? std::string() : range_name(first, end - first);
  };
  const auto subtree = [&](int t) { return add(add(leaf(3 * t), leaf(3 * t + 1)), leaf(3 * t + 2)); };
  return add(add(add(subtree(0), subtree(1)), add(subtree(2), subtree(3))),
             add(add(subtree(4), subtree(5)), add(subtree(6), subtree(7))));
}

TEST(ReductionTree, TheExpressionIsTheDefinitionForEveryNumberOfParts) {
  for (int64_t grains : kGrains) {
    const std::string want = expression_by_definition(grains);
    for (int parts = 1; parts <= kNumLeaves; ++parts) {
      ASSERT_EQ(whole_expression(ReductionTree(grains, parts)), want) << grains << " grains, " << parts << " parts";
    }
  }
}

TEST(ReductionTree, LeavesCoverTheGrainsOnceAndInOrder) {
  for (int64_t grains : kGrains) {
    for (int parts = 1; parts <= kNumLeaves; ++parts) {
      const ReductionTree tree(grains, parts);
      ASSERT_EQ(tree.num_parts(), parts);
      int64_t next = 0;
      for (int part = 0; part < parts; ++part) {
        ASSERT_EQ(tree.first_grain(part), next);
        for (const ReductionTree::Leaf& leaf : tree.leaves(part)) {
          ASSERT_EQ(leaf.first_grain, next);
          ASSERT_GE(leaf.num_grains, 1);
          ASSERT_LE(leaf.num_grains, (grains + 23) / 24);
          next += leaf.num_grains;
        }
        ASSERT_EQ(next, tree.first_grain(part) + tree.num_grains(part));
      }
      ASSERT_EQ(next, grains);
    }
  }
}

/// Two neighbouring slots of one part are never the two operands of one addition: that sum would be a larger slot.
TEST(ReductionTree, SlotsAreMaximal) {
  for (int64_t grains : kGrains) {
    for (int parts = 1; parts <= kNumLeaves; ++parts) {
      const ReductionTree tree(grains, parts);
      const std::string expression = whole_expression(tree);
      for (int part = 0; part < parts; ++part) {
        const std::vector<std::string> slots = slots_of(tree, part);
        for (size_t i = 0; i + 1 < slots.size(); ++i) {
          ASSERT_EQ(expression.find("(" + slots[i] + "+" + slots[i + 1] + ")"), std::string::npos)
              << grains << " grains, part " << part << " of " << parts;
        }
      }
    }
  }
}

TEST(ReductionTree, PowersOfTwoOwnWholeSubtrees) {
  for (int parts : {1, 2, 4, 8}) {
    const ReductionTree tree(24, parts);
    for (int part = 0; part < parts; ++part) EXPECT_EQ(tree.num_slots(part), 1) << parts;
  }
  const ReductionTree three(24, 3);  // leaves 0..7: subtrees 0 and 1, two leaves of subtree 2
  EXPECT_EQ(three.num_slots(0), 2);
  EXPECT_EQ(ReductionTree(24, 24).total_slots(), 24);
}

TEST(ReductionTree, FewerGrainsThanPartsLeaveSomeEmpty) {
  const ReductionTree tree(4, 24);
  std::set<int> owners;
  for (int part = 0; part < 24; ++part) {
    EXPECT_EQ(tree.num_slots(part), tree.num_grains(part) > 0 ? 1 : 0);
    if (tree.num_grains(part) > 0) owners.insert(part);
  }
  EXPECT_EQ(owners, (std::set<int>{5, 11, 17, 23}));
}

TEST(ReductionTree, RefusesPartsBeyondTheLeaves) {
  EXPECT_DEATH(ReductionTree(24, 25), "check failed");
  EXPECT_DEATH(ReductionTree(24, 0), "check failed");
  EXPECT_DEATH(ReductionTree(0, 1), "check failed");
}

}  // namespace
}  // namespace echelon
