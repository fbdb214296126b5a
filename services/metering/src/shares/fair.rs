//! Fair division of whole numbers. Whole, so that the parts never sum to more than there was.

/// Rates are divided in millionths of what they count.
pub(super) const MICRO: u64 = 1_000_000;

/// Part of a rate, one in so many, that is divided evenly among all nodes whatever they ask for: where demand is new, a
/// node starts with something and is never at zero.
const KEPT_FOR_ALL: u64 = 100;

/// Divides `total` so that nobody gets more than they want, and nobody who gets less than they want gets less than
/// another (max-min fairness). What is left over when all are content is left.
pub(super) fn max_min(total: u64, wants: &[u64]) -> Vec<u64> {
    let mut by_want: Vec<usize> = (0..wants.len()).collect();
    by_want.sort_by_key(|index| wants[*index]);
    let mut parts = vec![0; wants.len()];
    let mut left = total;
    for (index, waiting) in by_want.into_iter().zip((1..=wants.len() as u64).rev()) {
        parts[index] = wants[index].min(left / waiting);
        left -= parts[index];
    }
    parts
}

/// Divides all of `total` (but for rounding) as a rate: first by demand, and the rest evenly, since demand of the next
/// second is not known and may be anywhere.
pub(super) fn rates(total: u64, demands: &[u64]) -> Vec<u64> {
    let nodes = demands.len() as u64;
    if nodes == 0 {
        return Vec::new();
    }
    let least = total / KEPT_FOR_ALL / nodes;
    let by_demand = max_min(total - least * nodes, demands);
    let rest = total - least * nodes - by_demand.iter().sum::<u64>();
    by_demand.into_iter().map(|part| least + part + rest / nodes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_wants_are_met_and_large_ones_are_equal() {
        assert_eq!(max_min(100, &[10, 200, 80]), [10, 45, 45]);
        assert_eq!(max_min(100, &[10, 20, 0]), [10, 20, 0]);
        assert_eq!(max_min(2, &[1, 1, 1]).iter().sum::<u64>(), 2);
        assert_eq!(max_min(5, &[]), [0; 0]);
    }

    #[test]
    fn what_nobody_asks_for_is_divided_evenly() {
        assert_eq!(rates(1_000, &[0, 0]), [500, 500]);
        assert_eq!(rates(1_000, &[800, 0]), [900, 100]);
        assert_eq!(rates(1_000, &[5_000, 0]), [995, 5]);
    }

    proptest! {
        #[test]
        fn parts_are_fair(total in 0u64..10_000, wants in prop::collection::vec(0u64..5_000, 1..12)) {
            let parts = max_min(total, &wants);
            prop_assert_eq!(parts.iter().sum::<u64>(), total.min(wants.iter().sum()));
            for (part, want) in parts.iter().zip(&wants) {
                prop_assert!(part <= want);
                // Who is not content has as much as anybody, but for what cannot be divided.
                prop_assert!(part == want || parts.iter().all(|other| *other <= part + 1));
            }
        }

        #[test]
        fn rates_use_all_and_leave_nobody_out(
            total in 1_000_000u64..1_000_000_000,
            demands in prop::collection::vec(0u64..2_000_000_000, 1..50),
        ) {
            let parts = rates(total, &demands);
            let sum: u64 = parts.iter().sum();
            prop_assert!(sum <= total && total - sum < demands.len() as u64);
            prop_assert!(parts.iter().all(|part| *part > 0));
        }
    }
}
