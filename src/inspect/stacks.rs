//! The stacks of a dump: each one made once, and each address named once.

use super::stack::{Frame, Stack, StackExtent, Symbol};
use super::symbols;
use crate::coroutine::{Extent, Trace};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The stacks of a dump, by what was captured. Equal stacks are the same `Arc`.
pub(super) struct Stacks {
    /// By the address of the trace.
    made: HashMap<*const Trace, Arc<Stack>>,
}

impl Stacks {
    /// Makes the stacks of those traces.
    pub(super) fn of<'a>(traces: impl Iterator<Item = &'a Arc<Trace>>) -> Stacks {
        let traces: HashMap<*const Trace, &Trace> =
            traces.map(|trace| (Arc::as_ptr(trace), &**trace)).collect();
        let mut addresses: Vec<usize> = traces.values().flat_map(|trace| trace.addresses.to_vec()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let names = symbols::resolve(&addresses);
        // Traces may differ in the runtime's own frames only.
        let mut known: HashSet<Arc<Stack>> = HashSet::new();
        let mut made = HashMap::new();
        for (at, trace) in traces {
            let stack = stack_of(trace, &names);
            let stack = known.get(&stack).cloned().unwrap_or_else(|| Arc::new(stack));
            known.insert(Arc::clone(&stack));
            made.insert(at, stack);
        }
        Stacks { made }
    }

    /// The stack of one of those traces.
    pub(super) fn get(&self, trace: &Arc<Trace>) -> Option<Arc<Stack>> {
        self.made.get(&Arc::as_ptr(trace)).cloned()
    }
}

fn stack_of(trace: &Trace, names: &HashMap<usize, Vec<Symbol>>) -> Stack {
    let frame = |address: &usize| {
        let symbols = names.get(address).cloned().unwrap_or_default();
        Frame { address: *address, symbols }
    };
    let extent = match trace.extent {
        Extent::Whole | Extent::NotStarted => StackExtent::Whole,
        Extent::Cut => StackExtent::Cut,
        Extent::NoRoom => StackExtent::NoRoom,
    };
    let mut frames: Vec<_> = trace.addresses.iter().map(frame).collect();
    symbols::trim(&mut frames);
    Stack { frames, extent }
}
