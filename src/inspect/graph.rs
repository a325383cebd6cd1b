//! Cycles in a graph of waits.
//!
//! A node is a coroutine or a plain thread that waits. An edge leads to each one without which its wait
//! cannot end. So all nodes of a cycle wait for ever.
//!
//! The search goes depth first and visits each node and each edge once. An edge to a node on the present path
//! closes a cycle, which is that part of the path. Nodes of a cycle that was found before belong to no second
//! one: two cycles that share a node are one deadlock, and one of them explains it.

/// The progress of the search at a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

/// The cycles of a graph, each as its nodes in the order of the edges. `edges[node]` are the nodes to which
/// edges lead from `node`. No node is in two cycles, and each node that can reach itself reaches one of the
/// cycles.
pub(super) fn cycles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut marks = vec![Mark::New; edges.len()];
    let mut found: Vec<Vec<usize>> = Vec::new();
    let mut in_cycle = vec![false; edges.len()];
    for root in 0..edges.len() {
        // The path, and for each of its nodes how many of its edges were followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks[root] == Mark::New {
            marks[root] = Mark::OnPath;
            path.push((root, 0));
        }
        while let Some((node, followed)) = path.last_mut() {
            let Some(&next) = edges[*node].get(*followed) else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match marks[next] {
                Mark::New => {
                    marks[next] = Mark::OnPath;
                    path.push((next, 0));
                }
                Mark::OnPath => {
                    let start = path.iter().position(|&(node, _)| node == next).expect("it is on the path");
                    let cycle: Vec<usize> = path[start..].iter().map(|&(node, _)| node).collect();
                    if cycle.iter().all(|&node| !in_cycle[node]) {
                        cycle.iter().for_each(|&node| in_cycle[node] = true);
                        found.push(cycle);
                    }
                }
                Mark::Done => {}
            }
        }
    }
    found
}

/// The nodes outside of `target` from which a path leads into it.
pub(super) fn leading_to(edges: &[Vec<usize>], target: &[usize]) -> Vec<usize> {
    let mut callers = vec![Vec::new(); edges.len()];
    for (node, nexts) in edges.iter().enumerate() {
        nexts.iter().for_each(|&next| callers[next].push(node));
    }
    let mut seen = vec![false; edges.len()];
    target.iter().for_each(|&node| seen[node] = true);
    let (mut found, mut next) = (Vec::new(), target.to_vec());
    while let Some(node) = next.pop() {
        for &caller in &callers[node] {
            if !std::mem::replace(&mut seen[caller], true) {
                found.push(caller);
                next.push(caller);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_that_end_somewhere_are_no_cycle() {
        assert!(cycles(&[]).is_empty());
        assert!(cycles(&[vec![1, 2], vec![2], vec![]]).is_empty());
    }

    #[test]
    fn a_loop_of_one_node_is_a_cycle() {
        assert_eq!(cycles(&[vec![1], vec![1]]), [[1]]);
    }

    #[test]
    fn a_cycle_has_its_nodes_in_order() {
        let edges: Vec<_> = (0..50).map(|node| vec![(node + 1) % 50]).collect();
        assert_eq!(cycles(&edges), [(0..50).collect::<Vec<_>>()]);
    }

    #[test]
    fn each_cycle_is_found_once_and_waiters_outside_belong_to_none() {
        // 0 waits for 1 and 3; 1 <-> 2; 3 <-> 4.
        let found = cycles(&[vec![1, 3], vec![2], vec![1], vec![4], vec![3]]);
        assert_eq!(found, [[1, 2], [3, 4]]);
    }

    #[test]
    fn what_waits_behind_a_cycle_leads_to_it() {
        // 3 -> 2 -> 0 <-> 1; 4 waits for nobody; 5 -> 4.
        let mut behind = leading_to(&[vec![1], vec![0], vec![0], vec![2], vec![], vec![4]], &[0, 1]);
        behind.sort_unstable();
        assert_eq!(behind, [2, 3]);
    }

    /// All nodes that a path of at least one edge leads to.
    fn reachable(edges: &[Vec<usize>], from: usize) -> Vec<bool> {
        let mut reached = vec![false; edges.len()];
        let mut next = edges[from].clone();
        while let Some(node) = next.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                next.extend(&edges[node]);
            }
        }
        reached
    }

    fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1_usize..12).prop_flat_map(|nodes| {
            prop::collection::vec(prop::collection::vec(0..nodes, 0..3), nodes..=nodes)
        })
    }

    proptest! {
        #[test]
        fn what_is_found_are_cycles_and_every_node_in_a_cycle_leads_to_one(edges in graphs()) {
            let found = cycles(&edges);
            let mut in_cycle = vec![false; edges.len()];
            for cycle in &found {
                for (index, &node) in cycle.iter().enumerate() {
                    prop_assert!(edges[node].contains(&cycle[(index + 1) % cycle.len()]));
                    prop_assert!(!std::mem::replace(&mut in_cycle[node], true), "a node is in two cycles");
                }
            }
            for node in 0..edges.len() {
                let reached = reachable(&edges, node);
                if reached[node] {
                    prop_assert!(in_cycle.iter().zip(&reached).any(|(&cycle, &reached)| cycle && reached));
                }
            }
        }
    }
}
