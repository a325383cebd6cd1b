//! The command line: flags with a value, and one word that may stand alone.

use std::process::exit;
use std::str::FromStr;

/// The arguments that are left. A service takes the ones that it knows; [`end`](Arguments::end) refuses the
/// rest.
pub struct Arguments {
    left: Vec<String>,
    usage: &'static str,
}

impl Arguments {
    /// The arguments of this process. With `--help` it prints the usage and ends the process.
    pub fn new(usage: &'static str) -> Arguments {
        let left: Vec<String> = std::env::args().skip(1).collect();
        if left.iter().any(|argument| argument == "--help" || argument == "-h") {
            println!("{usage}");
            exit(0);
        }
        Arguments { left, usage }
    }

    /// Takes `flag` and the value behind it. `None` if it is not there.
    pub fn value<T: FromStr>(&mut self, flag: &str) -> Option<T> {
        let at = self.left.iter().position(|argument| argument == flag)?;
        let mut taken = self.left.drain(at..self.left.len().min(at + 2)).skip(1);
        let text = taken.next();
        drop(taken);
        let value = text.as_deref().and_then(|text| text.parse().ok());
        Some(value.unwrap_or_else(|| self.refuse(&format!("{flag}: {text:?} is no value for it"))))
    }

    /// Takes all values of a flag that may be repeated.
    pub fn values<T: FromStr>(&mut self, flag: &str) -> Vec<T> {
        std::iter::from_fn(|| self.value(flag)).collect()
    }

    /// Takes a flag whose value is `yes` or `no`. `no` if it is not there.
    pub fn yes(&mut self, flag: &str) -> bool {
        match self.value::<String>(flag).as_deref() {
            None | Some("no") => false,
            Some("yes") => true,
            Some(text) => self.refuse(&format!("{flag}: {text:?} is neither yes nor no")),
        }
    }

    /// Takes two flags that need each other. With one of them alone it refuses: a service that was given a
    /// certificate and no key must not serve without TLS.
    pub fn pair<T: FromStr>(&mut self, one: &str, other: &str) -> Option<(T, T)> {
        match (self.value(one), self.value(other)) {
            (Some(first), Some(second)) => Some((first, second)),
            (None, None) => None,
            _ => self.refuse(&format!("{one} and {other} need each other")),
        }
    }

    /// Takes the first argument that is left, which is no flag.
    pub fn word<T: FromStr>(&mut self, default: T) -> T {
        match self.left.first() {
            Some(word) if !word.starts_with('-') => {
                let word = self.left.remove(0);
                word.parse().unwrap_or_else(|_| self.refuse(&format!("{word:?} has no meaning here")))
            }
            _ => default,
        }
    }

    /// Refuses what is left.
    pub fn end(&self) {
        if let Some(argument) = self.left.first() {
            self.refuse(&format!("{argument:?} has no meaning here"));
        }
    }

    /// Prints why, and ends the process.
    pub fn refuse(&self, why: &str) -> ! {
        eprintln!("{why}\nusage: {}", self.usage);
        exit(2);
    }
}
