//! Where entries lie. A search looks at the words of 64 entries in which each of a packet's five values has any entry; they are few when
//! entries that match alike lie together. So entries are sorted by what they match, and only those of one word by the policy's order, which
//! the search relies on.

use std::{collections::HashMap, sync::Arc};

use super::expand::{Entry, List, Lists};

/// Puts entries into the order they lie in. It goes by what is written: the members that come later do not move an entry.
pub(super) fn place(entries: &mut [Entry], lists: &[List]) {
    let addresses = Ranks::new(lists.iter().map(|list| &list.written));
    let of_lists = |numbers: Option<&Lists>| -> Vec<u32> {
        numbers.into_iter().flat_map(|numbers| numbers.iter()).map(|number| addresses.of(&lists[*number].written) + 1).collect()
    };
    let services = Ranks::new(entries.iter().filter_map(|entry| entry.service.as_ref()));
    // What matches every value comes first of all.
    entries.sort_by_cached_key(|entry| {
        let of = |rank: Option<u32>| rank.map_or(0, |rank| rank + 1);
        (
            entry.from.clone(),
            entry.to.clone(),
            of_lists(entry.source.as_ref()),
            of_lists(entry.destination.as_ref()),
            of(entry.service.as_ref().map(|list| services.of(list))),
            entry.order,
        )
    });
    entries.chunks_mut(64).for_each(|word| word.sort_unstable_by_key(|entry| entry.order));
}

/// Lists by what they hold: of two that begin close to each other the ranks are close.
struct Ranks<T>(HashMap<*const T, u32>);

impl<T: Ord> Ranks<T> {
    fn new<'l>(lists: impl Iterator<Item = &'l Arc<[T]>>) -> Self
    where
        T: 'l,
    {
        let mut distinct: HashMap<*const T, &[T]> = lists.map(|list| (list.as_ptr(), &**list)).collect();
        let mut sorted: Vec<(*const T, &[T])> = distinct.drain().collect();
        sorted.sort_unstable_by_key(|(_, list)| *list);
        let mut rank = 0;
        let mut ranks = HashMap::with_capacity(sorted.len());
        for (number, (pointer, list)) in sorted.iter().enumerate() {
            rank += u32::from(number > 0 && *list != sorted[number - 1].1);
            ranks.insert(*pointer, rank);
        }
        Self(ranks)
    }

    fn of(&self, list: &Arc<[T]>) -> u32 {
        self.0.get(&list.as_ptr()).copied().unwrap_or_default()
    }
}
