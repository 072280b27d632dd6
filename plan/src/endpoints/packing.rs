//! Which endpoint stands in which slice: where it stands already, if that can be, so that a change to one
//! Pod changes one slice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use l34_crds::core::{Endpoint, EndpointSlice};

use super::pod::{self, Numbers, Ports};
use super::slice::{Content, Family};

/// The endpoints of one family that a Service is to have.
#[derive(Default)]
pub(super) struct Waiting<'a> {
    /// By name of their Pod, each with the place of its ports in `ports`.
    endpoints: BTreeMap<&'a str, (usize, Endpoint)>,
    /// The sets of ports that are in use.
    ports: BTreeMap<Numbers, usize>,
}

impl<'a> Waiting<'a> {
    pub(super) fn push(&mut self, pod: &'a str, numbers: &Numbers, endpoint: Endpoint) {
        let set = match self.ports.get(numbers) {
            Some(set) => *set,
            None => {
                let set = self.ports.len();
                self.ports.insert(numbers.clone(), set);
                set
            }
        };
        self.endpoints.insert(pod, (set, endpoint));
    }
}

/// One slice as it is to be, and the one that becomes it.
pub(super) struct Packed<'e> {
    pub(super) existing: Option<&'e Arc<EndpointSlice>>,
    pub(super) content: Content,
}

/// Packs the endpoints of one family. `existing` are the slices that the Service has in it; those that
/// stand in no [`Packed`] are not needed.
///
/// An endpoint that has a place keeps it. A new one goes where a slice has to be written in any case, then
/// where the fewest other slices have to be: an otherwise idle one, else the one that it and the rest fill
/// best, else a new one.
pub(super) fn pack<'e>(
    family: Family,
    ports: &Ports<'_>,
    mut waiting: Waiting<'_>,
    existing: &[&'e Arc<EndpointSlice>],
) -> Vec<Packed<'e>> {
    let mut sets: Vec<Set<'e>> = Vec::new();
    sets.resize_with(waiting.ports.len(), Set::default);
    let mut idle = VecDeque::new();
    for slice in existing {
        match waiting.set_of(slice, ports) {
            Some(set) => {
                let bin = waiting.keep(slice, set);
                sets[set].bins.push(bin);
            }
            None => idle.push_back(*slice),
        }
    }
    for (set, endpoint) in std::mem::take(&mut waiting.endpoints).into_values() {
        sets[set].new.push_back(endpoint);
    }
    for set in &mut sets {
        set.fill_changed();
        idle.extend(set.take_empty());
    }
    let mut packed = Vec::new();
    for (numbers, set) in waiting.ports {
        let set = &mut sets[set];
        set.fill_others(&mut idle);
        packed.extend(set.bins.drain(..).map(|bin| Packed {
            existing: bin.existing,
            content: Content { family, ports: ports.listed(&numbers), endpoints: bin.endpoints },
        }));
    }
    packed
}

impl Waiting<'_> {
    /// The set of ports that a slice goes on with: its own or, where that is not in use, as after a change
    /// to the Service, the one of its first endpoint that stays.
    fn set_of(&self, slice: &EndpointSlice, ports: &Ports<'_>) -> Option<usize> {
        let listed = slice.ports.as_deref().unwrap_or_default();
        let own = self.ports.get(&ports.numbers(listed)).copied();
        own.or_else(|| {
            let endpoints = slice.endpoints.iter().flatten();
            let mut staying = endpoints.filter_map(|e| self.endpoints.get(pod::of_endpoint(e)?));
            staying.next().map(|(set, _)| *set)
        })
    }

    /// Takes the endpoints that stand in the slice and stay there.
    fn keep<'e>(&mut self, slice: &'e Arc<EndpointSlice>, set: usize) -> Bin<'e> {
        let before = slice.endpoints.as_deref().unwrap_or_default();
        let mut endpoints = Vec::with_capacity(before.len());
        for pod in before.iter().filter_map(pod::of_endpoint) {
            if endpoints.len() == MAX_ENDPOINTS || self.endpoints.get(pod).is_none_or(|(of, _)| *of != set) {
                continue;
            }
            endpoints.extend(self.endpoints.remove(pod).map(|(_, endpoint)| endpoint));
        }
        Bin { existing: Some(slice), changed: endpoints != before, endpoints }
    }
}

/// The slices with one set of ports, and the endpoints that have no place yet.
#[derive(Default)]
struct Set<'e> {
    bins: Vec<Bin<'e>>,
    new: VecDeque<Endpoint>,
}

struct Bin<'e> {
    existing: Option<&'e Arc<EndpointSlice>>,
    endpoints: Vec<Endpoint>,
    /// It has to be written in any case.
    changed: bool,
}

impl Bin<'_> {
    fn room(&self) -> usize {
        MAX_ENDPOINTS.saturating_sub(self.endpoints.len())
    }

    fn fill(&mut self, new: &mut VecDeque<Endpoint>) {
        let count = self.room().min(new.len());
        self.endpoints.extend(new.drain(..count));
    }
}

impl<'e> Set<'e> {
    fn fill_changed(&mut self) {
        for bin in self.bins.iter_mut().filter(|bin| bin.changed) {
            bin.fill(&mut self.new);
        }
    }

    fn take_empty(&mut self) -> impl Iterator<Item = &'e Arc<EndpointSlice>> + use<'e> {
        let (empty, bins): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bins).into_iter().partition(|bin| bin.endpoints.is_empty());
        self.bins = bins;
        empty.into_iter().filter_map(|bin| bin.existing)
    }

    fn fill_others(&mut self, idle: &mut VecDeque<&'e Arc<EndpointSlice>>) {
        while !self.new.is_empty() {
            if let Some(existing) = idle.pop_front() {
                self.open(Some(existing));
                continue;
            }
            let fitting = self.bins.iter_mut().filter(|bin| bin.room() >= self.new.len());
            match fitting.min_by_key(|bin| bin.room()) {
                Some(bin) => bin.fill(&mut self.new),
                None => self.open(None),
            }
        }
    }

    fn open(&mut self, existing: Option<&'e Arc<EndpointSlice>>) {
        let mut bin = Bin { existing, endpoints: Vec::new(), changed: true };
        bin.fill(&mut self.new);
        self.bins.push(bin);
    }
}

/// The API's limit for one EndpointSlice.
pub(super) const MAX_ENDPOINTS: usize = 1000;
