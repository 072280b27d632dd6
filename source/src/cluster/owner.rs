//! The one owner of what all watches bring.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use kube::Client;
use l34_plan::snapshot::{Made, Objects};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::secrets::Secrets;
use super::watch::{News, Running, Watch, What};
use super::{Options, View};

/// A handle on the watches. They end with it.
pub struct Cluster {
    views: watch::Receiver<Option<View>>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Cluster {
    /// What is known, from now on; nothing as long as nothing was listed or restored.
    pub fn views(&self) -> watch::Receiver<Option<View>> {
        self.views.clone()
    }

    /// Begins one more watch. One with the same name goes on instead.
    pub fn watch(&self, watch: Watch) {
        // Orders come from plans: as many as there are namespaces. The thread lives as long as we do.
        let _ = self.orders.send(Order::Watch(watch));
    }

    /// Ends the watch with that name, and forgets its objects.
    pub fn unwatch(&self, name: &str) {
        let _ = self.orders.send(Order::Unwatch(name.to_owned()));
    }
}

enum Order {
    Watch(Watch),
    Unwatch(String),
}

pub(super) fn start(options: Options) -> io::Result<Cluster> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (publish, views) = watch::channel(None);
    let (orders, taken) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("cluster".to_owned())
        .spawn(move || runtime.block_on(own(options, publish, taken)))?;
    Ok(Cluster { views, orders })
}

async fn own(
    options: Options,
    publish: watch::Sender<Option<View>>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let client = match Client::try_from(options.config) {
        Ok(client) => client,
        Err(error) => {
            // A certificate or a URL that cannot be used: nothing that time would cure.
            tracing::error!("no client for the API server: {error}");
            return;
        }
    };
    let (to, mut news) = mpsc::channel(NEWS);
    let mut owner = Owner {
        objects: options.restored.clone().unwrap_or_default(),
        made: Made::default(),
        listed: BTreeSet::new(),
        unlisted: BTreeSet::new(),
        optional: BTreeSet::new(),
        absent: BTreeSet::new(),
        trouble: BTreeMap::new(),
        running: BTreeMap::new(),
        client: client.clone(),
        to: to.clone(),
    };
    let restored = options.restored.is_some();
    for watch in options.watches {
        owner.begin(watch, !restored);
    }
    let mut secrets = options.secrets.map(|wanted| Secrets::start(client, wanted, to));
    if secrets.is_some() {
        let known = if restored { &mut owner.listed } else { &mut owner.unlisted };
        known.insert(Secrets::NAME.to_owned());
    }
    if restored {
        publish.send_replace(Some(owner.view(Instant::now())));
    }
    loop {
        let (first, at) = tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Watch(watch)) => {
                    owner.begin(watch, true);
                    // That its objects are not known yet is news.
                    publish.send_replace(Some(owner.view(Instant::now())));
                    continue;
                }
                Some(Order::Unwatch(name)) => {
                    owner.end(&name);
                    publish.send_replace(Some(owner.view(Instant::now())));
                    continue;
                }
                None => return,
            },
            Some(first) = news.recv() => (first, Instant::now()),
        };
        let mut tells = owner.take(first);
        while let Ok(more) = news.try_recv() {
            tells |= owner.take(more);
        }
        // Which Secrets there are to read is known when all GatewayRouters are.
        if let Some(secrets) = &mut secrets
            && owner.listed.iter().any(|name| name.starts_with(GATEWAY_ROUTERS))
        {
            secrets.look_at(&owner.objects);
        }
        if tells {
            publish.send_replace(Some(owner.view(at)));
        }
    }
}

struct Owner {
    objects: Objects,
    made: Made,
    listed: BTreeSet<String>,
    unlisted: BTreeSet<String>,
    optional: BTreeSet<String>,
    absent: BTreeSet<String>,
    trouble: BTreeMap<String, String>,
    running: BTreeMap<Arc<str>, Running>,
    client: Client,
    to: mpsc::Sender<News>,
}

impl Owner {
    fn begin(&mut self, watch: Watch, unlisted: bool) {
        let name = watch.name.clone();
        if self.running.contains_key(&name) {
            return;
        }
        if unlisted { &mut self.unlisted } else { &mut self.listed }.insert(name.to_string());
        if watch.optional {
            self.optional.insert(name.to_string());
        }
        let running = watch.begin(self.client.clone(), &mut self.objects, &mut self.made, self.to.clone());
        self.running.insert(name, running);
    }

    fn end(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.end(&mut self.objects, &mut self.made);
        }
        self.listed.remove(name);
        self.unlisted.remove(name);
        self.optional.remove(name);
        self.absent.remove(name);
        self.trouble.remove(name);
    }

    /// Whether the view that follows says something new to those who may act on it: objects of a list that is not
    /// complete are of no use to anybody.
    fn take(&mut self, news: News) -> bool {
        if !self.listed.contains(&*news.from) && !self.unlisted.contains(&*news.from) {
            return false; // it was ended meanwhile
        }
        match news.what {
            What::Changed(change) => {
                change(&mut self.objects, &mut self.made);
                self.works(&news.from);
                !self.unlisted.contains(&*news.from)
            }
            What::Listed => {
                self.works(&news.from);
                if self.unlisted.remove(&*news.from) {
                    self.listed.insert(news.from.to_string());
                }
                true
            }
            What::Failed { words, absent } => {
                let absent = absent && self.optional.contains(&*news.from);
                if absent && self.absent.insert(news.from.to_string()) && self.unlisted.remove(&*news.from) {
                    self.listed.insert(news.from.to_string());
                }
                let old = self.trouble.insert(news.from.to_string(), words.clone());
                // Said once, and again when it is something else: it is tried several times a minute.
                if old.as_ref() == Some(&words) {
                    return false;
                }
                warn!(watch = %news.from, "cannot watch: {words}");
                true
            }
        }
    }

    fn works(&mut self, watch: &str) {
        self.absent.remove(watch);
        if self.trouble.remove(watch).is_some() {
            info!(%watch, "mended: the API server tells of its objects");
        }
    }

    fn view(&self, changed_at: Instant) -> View {
        View {
            objects: self.objects.clone(),
            made: self.made.clone(),
            listed: Arc::new(self.listed.clone()),
            unlisted: Arc::new(self.unlisted.clone()),
            absent: Arc::new(self.absent.clone()),
            trouble: Arc::new(self.trouble.clone()),
            changed_at,
        }
    }
}

/// How the watches of GatewayRouters are called.
const GATEWAY_ROUTERS: &str = "gatewayrouters";
/// News that may wait; a watch with more waits itself.
const NEWS: usize = 256;
