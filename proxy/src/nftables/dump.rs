//! Reading our table back from the kernel.

use std::collections::BTreeMap;
use std::io;

use super::attr::*;
use super::encode::{fingerprint, head};
use crate::TABLE;
use crate::element::{Element, Set, Value, intervals};
use crate::netlink::{Message, Socket, Writer, attribute, attributes, number, path, string};
use crate::service::Family;
use crate::shared::SharedChain;
use crate::skeleton::{Mode, shared_rules, skeleton};
use crate::table::{Op, Table};

/// What stands where our table belongs.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Our table with exactly our rules; elements may differ from what is wanted.
    Ours(Table),
    /// Another table, or ours with other rules; why, in words.
    Other(String),
}

/// Reads the table of a family. If nftables changes meanwhile, it is read again, a few times.
pub(super) fn read(socket: &mut Socket, family: Family, mode: Mode) -> io::Result<Found> {
    for _ in 0..READ_ATTEMPTS {
        let mut reader = Reader { socket, family, interrupted: false };
        let before = reader.generation()?;
        // What goes away while it is read shows as an error; then the generation has moved on, too.
        let found = reader.table(mode);
        let interrupted = reader.interrupted;
        if reader.generation()? == before && !interrupted {
            return found;
        }
    }
    Err(io::Error::other("nftables changes faster than it can be read"))
}

struct Reader<'a> {
    socket: &'a mut Socket,
    family: Family,
    interrupted: bool,
}

impl Reader<'_> {
    fn table(&mut self, mode: Mode) -> io::Result<Found> {
        let mut comment = String::new();
        let mut dormant = false;
        let asked = self.ask(libc::NFT_MSG_GETTABLE, 0, &[(TABLE_NAME, TABLE)], |body| {
            dormant = attribute(body, TABLE_FLAGS).and_then(number) != Some(0);
            comment = attribute(body, TABLE_USERDATA).and_then(user_comment).unwrap_or_default().to_owned();
        });
        match asked {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Found::Nothing),
            other => other?,
        }
        if comment != fingerprint(self.family, mode) {
            return Ok(Found::Other(format!("it is of another version or mode: {comment:?}")));
        }
        if dormant {
            return Ok(Found::Other("it has been made dormant".to_owned()));
        }
        let shared = match self.shared_chains(mode)? {
            Ok(shared) => shared,
            Err(why) => return Ok(Found::Other(why)),
        };
        let mut table = Table::new(self.family);
        table.record(&shared);
        for set in skeleton(self.family, mode).sets {
            match self.elements(set) {
                Ok(Some(elements)) => table.record(&elements),
                Ok(None) => return Ok(Found::Other(format!("{} holds what we never put there", set.name()))),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    return Ok(Found::Other(format!("{} is missing", set.name())));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Found::Ours(table))
    }

    /// The shared chains, if all chains of the table have the rules that they should have, as far as their comments
    /// tell.
    fn shared_chains(&mut self, mode: Mode) -> io::Result<Result<Vec<Op>, String>> {
        let found = self.rules()?;
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for chain in skeleton(self.family, mode).chains {
            expected
                .insert(chain.name.to_owned(), chain.rules.iter().map(|r| r.comment.to_owned()).collect());
        }
        let shared: Vec<SharedChain> = found.keys().filter_map(|name| SharedChain::parse(name)).collect();
        for chain in &shared {
            let rules = shared_rules(self.family, *chain);
            expected.insert(chain.to_string(), rules.iter().map(|r| r.comment.to_owned()).collect());
        }
        let wrong = expected.iter().find(|(name, rules)| found.get(*name) != Some(*rules));
        let wrong =
            wrong.map(|(name, _)| name).or_else(|| found.keys().find(|name| !expected.contains_key(*name)));
        Ok(match wrong {
            Some(name) => Err(format!("chain {name} is not as it should be")),
            None => Ok(shared.into_iter().map(Op::AddChain).collect()),
        })
    }

    /// The comments of all rules, by chain.
    fn rules(&mut self) -> io::Result<BTreeMap<String, Vec<String>>> {
        let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
        self.ask(libc::NFT_MSG_GETCHAIN, libc::NLM_F_DUMP, &[], |body| {
            if attribute(body, CHAIN_TABLE).and_then(string) == Some(TABLE) {
                chains.insert(text(body, CHAIN_NAME), Vec::new());
            }
        })?;
        self.ask(libc::NFT_MSG_GETRULE, libc::NLM_F_DUMP, &[(RULE_TABLE, TABLE)], |body| {
            if attribute(body, RULE_TABLE).and_then(string) == Some(TABLE) {
                let comment = attribute(body, RULE_USERDATA).and_then(user_comment).unwrap_or_default();
                chains.entry(text(body, RULE_CHAIN)).or_default().push(comment.to_owned());
            }
        })?;
        Ok(chains)
    }

    /// The elements of a set; `None` if one of them can't be ours.
    fn elements(&mut self, set: Set) -> io::Result<Option<Vec<Op>>> {
        if set == Set::TargetNetworks {
            return self.intervals(set);
        }
        let family = self.family;
        let mut elements = Some(Vec::new());
        let which = [(ELEMS_TABLE, TABLE), (ELEMS_SET, set.name())];
        self.ask(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP, &which, |body| {
            let list = attribute(body, ELEMS_LIST).unwrap_or_default();
            for (_, element) in attributes(list) {
                let op = read_element(family, set, element).map(Op::Add);
                match (op, &mut elements) {
                    (Some(op), Some(elements)) => elements.push(op),
                    _ => elements = None,
                }
            }
        })?;
        Ok(elements)
    }

    /// As [`Reader::elements`], of a set with intervals.
    fn intervals(&mut self, set: Set) -> io::Result<Option<Vec<Op>>> {
        let mut ends = Vec::new();
        let which = [(ELEMS_TABLE, TABLE), (ELEMS_SET, set.name())];
        self.ask(libc::NFT_MSG_GETSETELEM, libc::NLM_F_DUMP, &which, |body| {
            let list = attribute(body, ELEMS_LIST).unwrap_or_default();
            for (_, element) in attributes(list) {
                let key = path(element, &[ELEM_KEY, DATA_VALUE]).unwrap_or_default();
                let flags = attribute(element, ELEM_FLAGS).and_then(number).unwrap_or(0);
                ends.push((key.to_vec(), flags & libc::NFT_SET_ELEM_INTERVAL_END as u32 != 0));
            }
        })?;
        Ok(intervals(self.family, ends).map(|elements| elements.into_iter().map(Op::Add).collect()))
    }

    /// The number that every transaction of nftables counts up.
    fn generation(&mut self) -> io::Result<u32> {
        let mut generation = 0;
        self.ask(libc::NFT_MSG_GETGEN, 0, &[], |body| {
            generation = attribute(body, GEN_ID).and_then(number).unwrap_or(0);
        })?;
        Ok(generation)
    }

    fn ask(
        &mut self,
        message: i32,
        flags: i32,
        strings: &[(u16, &str)],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut request = Writer::default();
        request.message(head(self.family, message, flags), |writer| {
            strings.iter().for_each(|(kind, value)| writer.string(*kind, value));
        });
        let answers = self.socket.ask(&request, |message: &Message<'_>| each(message.body))?;
        self.interrupted |= answers.interrupted;
        Ok(())
    }
}

fn read_element(family: Family, set: Set, element: &[u8]) -> Option<Element> {
    let key = path(element, &[ELEM_KEY, DATA_VALUE])?;
    let value = match attribute(element, ELEM_DATA) {
        None => Value::None,
        Some(data) => match attribute(data, DATA_VERDICT) {
            None => Value::Data(attribute(data, DATA_VALUE)?.to_vec()),
            Some(verdict) => {
                attribute(verdict, VERDICT_CODE).and_then(number).filter(|c| *c == libc::NFT_GOTO as u32)?;
                Value::Goto(SharedChain::parse(attribute(verdict, VERDICT_CHAIN).and_then(string)?)?)
            }
        },
    };
    Element::read(family, set, key, &value)
}

fn text(body: &[u8], kind: u16) -> String {
    attribute(body, kind).and_then(string).unwrap_or_default().to_owned()
}

fn user_comment(userdata: &[u8]) -> Option<&str> {
    match userdata {
        [kind, len, comment @ ..] if *kind == UDATA_COMMENT => string(comment.get(..usize::from(*len))?),
        _ => None,
    }
}

const READ_ATTEMPTS: usize = 10;
