#include "kernels/reduction_tree.h"

#include <memory>

#include "kernels/base/check.h"
#include "kernels/base/limits.h"

namespace echelon {

/// A sum of the whole tree: a leaf, or left + right. Trees without grains are null.
struct ReductionTree::Node {
  int first_leaf = 0, end_leaf = 0;  ///< leaves it covers, empty ones included
  std::unique_ptr<Node> left, right;
};

namespace {

int64_t leaf_begin(int64_t num_grains, int leaf) { return num_grains * leaf / kNumLeaves; }

int part_leaf_begin(int part, int num_parts) { return part * kNumLeaves / num_parts; }

/// The part that owns a leaf.
int owner(int leaf, int num_parts) {
  int part = 0;
  while (part_leaf_begin(part + 1, num_parts) <= leaf) ++part;
  return part;
}

}  // namespace

ReductionTree::ReductionTree(int64_t num_grains, int num_parts) {
  ECHELON_CHECK(num_grains >= 1 && num_parts >= 1 && num_parts <= kNumLeaves, "{} grains, {} parts", num_grains,
                num_parts);
  parts_.resize(num_parts);
  for (int part = 0; part < num_parts; ++part) {
    parts_[part].first_grain = leaf_begin(num_grains, part_leaf_begin(part, num_parts));
    parts_[part].num_grains = leaf_begin(num_grains, part_leaf_begin(part + 1, num_parts)) - parts_[part].first_grain;
  }

  using NodePtr = std::unique_ptr<Node>;
  const auto join = [](NodePtr left, NodePtr right) -> NodePtr {
    if (!left) return right;
    if (!right) return left;
    auto node = std::make_unique<Node>();
    node->first_leaf = left->first_leaf;
    node->end_leaf = right->end_leaf;
    node->left = std::move(left);
    node->right = std::move(right);
    return node;
  };
  std::vector<NodePtr> level;
  for (int subtree = 0; subtree < kNumLeaves / kLeavesPerSubtree; ++subtree) {
    NodePtr sum;
    for (int leaf = subtree * kLeavesPerSubtree; leaf < (subtree + 1) * kLeavesPerSubtree; ++leaf) {
      if (leaf_begin(num_grains, leaf) == leaf_begin(num_grains, leaf + 1)) continue;
      auto node = std::make_unique<Node>();
      node->first_leaf = leaf;
      node->end_leaf = leaf + 1;
      sum = join(std::move(sum), std::move(node));
    }
    level.push_back(std::move(sum));
  }
  while (level.size() > 1) {
    std::vector<NodePtr> above;
    for (size_t i = 0; i < level.size(); i += 2) above.push_back(join(std::move(level[i]), std::move(level[i + 1])));
    level = std::move(above);
  }
  emit(*level.front(), num_grains);
  int first_slot = 0;
  for (PartPlan& part : parts_) {
    part.first_slot = first_slot;
    first_slot += part.num_slots;
  }
  ECHELON_CHECK(first_slot == total_slots());
}

void ReductionTree::emit(const Node& node, int64_t num_grains) {
  const int part = owner(node.first_leaf, num_parts());
  if (part == owner(node.end_leaf - 1, num_parts())) {
    PartPlan& plan = parts_[part];
    emit_leaves(node, num_grains, plan.leaves);
    plan.leaves.back().slot = plan.num_slots++;
    finish_merges_.push_back(0);
    return;
  }
  emit(*node.left, num_grains);
  emit(*node.right, num_grains);
  ++finish_merges_.back();
}

void ReductionTree::emit_leaves(const Node& node, int64_t num_grains, std::vector<Leaf>& leaves) {
  if (node.left) {
    emit_leaves(*node.left, num_grains, leaves);
    emit_leaves(*node.right, num_grains, leaves);
    ++leaves.back().merges;
    return;
  }
  const int64_t first = leaf_begin(num_grains, node.first_leaf);
  leaves.push_back({.first_grain = first, .num_grains = leaf_begin(num_grains, node.first_leaf + 1) - first});
}

}  // namespace echelon
