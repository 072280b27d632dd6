//! The Pods of one namespace, found by label, and what was read of each: kept between plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use l34_crds::core::{Pod, Service};
use l34_crds::names;

use super::pod::is_finished;
use crate::meta::label;
use crate::networks::{Attachment, StatusError, attachments};
use crate::snapshot::Table;

/// A Pod as it is now, and what its network-status says. Another state of the Pod is another of these.
#[derive(Debug)]
pub(super) struct PodFacts {
    pub(super) name: Arc<str>,
    pub(super) pod: Arc<Pod>,
    /// Read when first asked for: most Pods never are.
    attachments: OnceLock<Result<Vec<Attachment>, StatusError>>,
}

impl PodFacts {
    pub(super) fn attachments(&self) -> Result<&[Attachment], &StatusError> {
        self.attachments.get_or_init(|| attachments(&self.pod)).as_deref()
    }
}

/// The Pods of a namespace.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// Every one, by name.
    known: Vec<Arc<PodFacts>>,
    /// Those that have not ended: by each label key that is asked for and its value, and then by name.
    by_label: BTreeMap<String, BTreeMap<String, Vec<Arc<PodFacts>>>>,
}

impl Pods {
    /// Brings the index to what the table holds. `services` are those that will be asked for.
    pub(super) fn update<'a>(
        &mut self,
        table: &Table<Pod>,
        namespace: &str,
        services: impl Iterator<Item = &'a Service>,
    ) {
        let keys: BTreeSet<&str> = services.flat_map(selector).map(|(key, _)| key).collect();
        if !self.by_label.keys().eq(&keys) {
            self.by_label = keys.into_iter().map(|key| (key.to_owned(), BTreeMap::new())).collect();
            let known = std::mem::take(&mut self.known);
            known.iter().for_each(|facts| self.list(facts));
            self.known = known;
        }
        self.follow(table, namespace);
    }

    /// Both lists are sorted by name: one pass finds what came, went or changed.
    fn follow(&mut self, table: &Table<Pod>, namespace: &str) {
        let mut before = std::mem::take(&mut self.known).into_iter().peekable();
        let mut known = Vec::with_capacity(before.len());
        for (name, pod) in table.in_namespace(namespace) {
            // Nearly always, and found without a look at the Pod.
            if let Some(same) = before.next_if(|facts| Arc::ptr_eq(&facts.pod, pod)) {
                known.push(same);
                continue;
            }
            while let Some(gone) = before.next_if(|facts| facts.name < *name) {
                self.unlist(&gone);
            }
            let facts = match before.next_if(|facts| facts.name == *name) {
                Some(same) if Arc::ptr_eq(&same.pod, pod) => same,
                changed => {
                    changed.iter().for_each(|old| self.unlist(old));
                    let (name, pod) = (Arc::clone(name), Arc::clone(pod));
                    let facts = Arc::new(PodFacts { name, pod, attachments: OnceLock::new() });
                    self.list(&facts);
                    facts
                }
            };
            known.push(facts);
        }
        before.for_each(|gone| self.unlist(&gone));
        self.known = known;
    }

    fn list(&mut self, facts: &Arc<PodFacts>) {
        if is_finished(&facts.pod) {
            return;
        }
        for (key, values) in &mut self.by_label {
            let Some(value) = label(&facts.pod.metadata, key) else { continue };
            let listed = values.entry(value.to_owned()).or_default();
            let place = match listed.last() {
                Some(last) if last.name >= facts.name => {
                    listed.partition_point(|other| other.name < facts.name)
                }
                _ => listed.len(),
            };
            listed.insert(place, Arc::clone(facts));
        }
    }

    fn unlist(&mut self, facts: &Arc<PodFacts>) {
        for (key, values) in &mut self.by_label {
            let Some(value) = label(&facts.pod.metadata, key) else { continue };
            let Some(listed) = values.get_mut(value) else { continue };
            if let Ok(place) = listed.binary_search_by(|other| other.name.cmp(&facts.name)) {
                listed.remove(place);
            }
            if listed.is_empty() {
                values.remove(value);
            }
        }
    }

    /// The Pods that a Service selects, by name. Without a selector of substance it selects none.
    pub(super) fn selected<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<PodFacts>> + Clone {
        let with = |(key, value): (&str, &str)| self.by_label.get(key).and_then(|values| values.get(value));
        // The rarest label leaves the fewest Pods to look at.
        let rarest = selector(service).min_by_key(|&pair| with(pair).map_or(0, Vec::len));
        let listed = rarest.and_then(with).map(Vec::as_slice).unwrap_or_default();
        let has_others = move |facts: &&Arc<PodFacts>| {
            let mut others = selector(service).filter(|pair| Some(*pair) != rarest);
            others.all(|(key, value)| label(&facts.pod.metadata, key) == Some(value))
        };
        listed.iter().filter(has_others)
    }
}

/// The labels that a Service's Pods have to have. The dummy selector does not count, and a Service of type
/// ExternalName has no Pods.
fn selector(service: &Service) -> impl Iterator<Item = (&str, &str)> {
    let spec = service.spec.iter().filter(|spec| spec.type_.as_deref() != Some("ExternalName"));
    spec.flat_map(|spec| spec.selector.iter().flatten())
        .filter(|(key, _)| *key != names::DUMMY_SELECTOR)
        .map(|(key, value)| (key.as_str(), value.as_str()))
}
