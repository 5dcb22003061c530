//! What a record must have in it to count, sought in its bytes before it is read.
//!
//! Of the records of a busy service most cannot count, and one look at the name of their event tells, or one search for a
//! parameter that a rule asks for. Both are searches for bytes, so they hold only where bytes are what they look like: in a
//! record without any backslash, with the name where the scan has found a member of the record itself.

use memchr::memchr;
use memchr::memmem::Finder;

use crate::tiering::access::CountingRules;

/// The name of the member that says what happened.
pub(super) const EVENT_NAME: &[u8] = b"\"eventName\"";

#[derive(Debug)]
pub(super) struct Sought {
    event_name: Finder<'static>,
    events: Vec<Event>,
}

/// An event that may count.
#[derive(Debug)]
struct Event {
    name: String,
    /// One of these must be there, as names in quotes; None where the event alone is enough.
    parameters: Option<Vec<Finder<'static>>>,
}

impl Sought {
    pub(super) fn by(rules: &CountingRules) -> Self {
        let mut events: Vec<Event> = Vec::new();
        for rule in &rules.rules {
            let place = events.iter().position(|event| event.name == rule.event).unwrap_or_else(|| {
                events.push(Event { name: rule.event.clone(), parameters: Some(Vec::new()) });
                events.len() - 1
            });
            match (&rule.with_parameter, &mut events[place].parameters) {
                (Some(name), Some(parameters)) => {
                    parameters.push(Finder::new(format!("\"{name}\"").as_bytes()).into_owned());
                }
                (None, parameters) => *parameters = None,
                (Some(_), None) => {}
            }
        }
        Self { event_name: Finder::new(EVENT_NAME), events }
    }

    /// Where the bytes of [`EVENT_NAME`] stand next, at or after `from`.
    pub(super) fn event_name(&self, bytes: &[u8], from: usize) -> Option<usize> {
        self.event_name.find(&bytes[from..]).map(|n| from + n)
    }

    /// Whether `record` cannot count. It must be without backslashes, and its event's name, the first if there are several,
    /// end just before `name_end`. False if it takes more to know that.
    pub(super) fn is_missing(&self, record: &[u8], name_end: usize) -> bool {
        let Some(value) = record[name_end..].strip_prefix(b":\"") else { return false };
        let Some(len) = memchr(b'"', value) else { return false };
        let name = &value[..len];
        !self.events.iter().any(|event| {
            event.name.as_bytes() == name
                && event
                    .parameters
                    .as_ref()
                    .is_none_or(|parameters| parameters.iter().any(|parameter| parameter.find(record).is_some()))
        })
    }
}
