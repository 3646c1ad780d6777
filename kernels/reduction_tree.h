// The one order in which a row-parallel product (attention output, MLP down) is added, whatever the number of ranks.
//
// The G grains of the product's input dimension (query heads, or 64-wide pieces of the MLP) fall into 24 fixed leaves:
// leaf s is grains [s G/24, (s+1) G/24). Empty leaves are skipped, not added. Three leaves make a subtree ((a + b) +
// c), eight subtrees a binary tree. Part p of P (a tensor-parallel rank) owns leaves [p 24/P, (p+1) 24/P) and computes
// the largest sums of the tree that lie wholly in its leaves: its *slots*. Whoever has all slots of all parts finishes
// the tree. So the bits of the result do not depend on P.
//
// Every binary tree whose leaves are visited in order is a postfix program: push the next value, then merge the two
// topmost values `merges` times (top = below + top, left operand below). Both halves of the tree are written that way.
#pragma once

#include <cstdint>
#include <vector>

namespace echelon {

class ReductionTree {
 public:
  struct Leaf {
    int64_t first_grain = 0;  ///< in the whole product, not in the part
    int64_t num_grains = 0;   ///< at least 1
    int merges = 0;           ///< after pushing this leaf's sum
    int slot = -1;  ///< >= 0: then pop the value into this slot (numbered inside the part); the stack is empty after it
  };

  /// num_grains >= 1, 1 <= num_parts <= 24 (checked).
  ReductionTree(int64_t num_grains, int num_parts);

  int num_parts() const { return static_cast<int>(parts_.size()); }
  int64_t first_grain(int part) const { return parts_[part].first_grain; }
  int64_t num_grains(int part) const { return parts_[part].num_grains; }  ///< may be 0
  const std::vector<Leaf>& leaves(int part) const { return parts_[part].leaves; }
  int num_slots(int part) const { return parts_[part].num_slots; }
  int first_slot(int part) const { return parts_[part].first_slot; }  ///< among all parts' slots, in order
  int total_slots() const { return static_cast<int>(finish_merges_.size()); }

  /// The program that finishes the tree: push slot i of all slots in order, then merge finish_merges()[i] times.
  const std::vector<int>& finish_merges() const { return finish_merges_; }

 private:
  struct PartPlan {
    int64_t first_grain = 0, num_grains = 0;
    std::vector<Leaf> leaves;
    int first_slot = 0, num_slots = 0;
  };
  struct Node;
  void emit(const Node& node, int64_t num_grains);
  void emit_leaves(const Node& node, int64_t num_grains, std::vector<Leaf>& leaves);

  std::vector<PartPlan> parts_;
  std::vector<int> finish_merges_;
};

/// Largest depth of the stack that either program needs.
inline constexpr int kMaxReductionDepth = 6;

}  // namespace echelon
