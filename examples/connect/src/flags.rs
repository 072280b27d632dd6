//! Command lines as Go's `flag` package reads them: `-name value`, `-name=value`, `-name` for a switch; two dashes do as
//! well as one.

use std::collections::VecDeque;
use std::str::FromStr;

/// What is left of a command line.
#[derive(Debug)]
pub struct Args {
    rest: VecDeque<String>,
}

/// One flag as it was given.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: String,
    /// What stood behind `=`.
    inline: Option<String>,
}

impl Args {
    /// A command line without the program's name.
    pub fn new(args: impl IntoIterator<Item = String>) -> Self {
        Args { rest: args.into_iter().collect() }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next flag; nothing at the end.
    ///
    /// # Errors
    /// What comes next is no flag; in words.
    pub fn flag(&mut self) -> Result<Option<Flag>, String> {
        let Some(word) = self.rest.pop_front() else { return Ok(None) };
        let given = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        let (name, inline) = match given.map(|given| given.split_once('=').unwrap_or((given, ""))) {
            None | Some(("", _)) => return Err(format!("`{word}` is no flag")),
            Some((name, value)) => (name.to_owned(), word.contains('=').then(|| value.to_owned())),
        };
        Ok(Some(Flag { name, inline }))
    }

    /// The value of a flag that has one.
    ///
    /// # Errors
    /// There is none; in words.
    pub fn value(&mut self, flag: &Flag) -> Result<String, String> {
        let value = flag.inline.clone().or_else(|| self.rest.pop_front());
        value.ok_or_else(|| format!("-{} needs a value", flag.name))
    }

    /// The value of a flag, as anything that can be read from text.
    ///
    /// # Errors
    /// There is none, or it means nothing of that kind; in words.
    pub fn parse<T: FromStr>(&mut self, flag: &Flag) -> Result<T, String>
    where
        T::Err: std::fmt::Display,
    {
        let value = self.value(flag)?;
        value.parse().map_err(|error| format!("-{} {value}: {error}", flag.name))
    }
}

impl Flag {
    /// The state of a switch: on, unless it says otherwise.
    ///
    /// # Errors
    /// The text behind `=` is neither `true` nor `false`; in words.
    pub fn switch(&self) -> Result<bool, String> {
        match self.inline.as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("-{}={other}: neither true nor false", self.name)),
        }
    }

    /// The message for a name that nobody knows.
    pub fn unknown(&self) -> String {
        format!("unknown flag -{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_stand_behind_a_space_or_an_equals_sign_and_dashes_are_one_or_two() {
        for line in ["-nconn 7", "--nconn 7", "-nconn=7", "--nconn=7"] {
            let mut args = args(line);
            let flag = args.flag().unwrap().unwrap();
            assert_eq!((flag.name.as_str(), args.parse::<u32>(&flag)), ("nconn", Ok(7)), "{line}");
            assert!(args.is_empty());
        }
    }

    #[test]
    fn a_switch_takes_no_word_after_it() {
        let mut args = args("-udp -keep=false -address=[::1]:1");
        assert_eq!(args.flag().unwrap().unwrap().switch(), Ok(true));
        assert_eq!(args.flag().unwrap().unwrap().switch(), Ok(false));
        let flag = args.flag().unwrap().unwrap();
        assert_eq!(args.value(&flag).as_deref(), Ok("[::1]:1"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (line, words) in
            [("nconn", "`nconn` is no flag"), ("-", "`-` is no flag"), ("--=3", "`--=3` is no flag")]
        {
            assert_eq!(args(line).flag().unwrap_err(), words);
        }
        let mut args = args("-nconn");
        let flag = args.flag().unwrap().unwrap();
        assert_eq!(args.value(&flag).unwrap_err(), "-nconn needs a value");
    }
}
