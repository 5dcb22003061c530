//! What waits until everything is known: a file that has no name and goes with the process, a JSON line an item.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::marker::PhantomData;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

const BUFFER_BYTES: usize = 64 * 1024;

/// Items in the order in which they came.
#[derive(Debug)]
pub(super) struct Spool<T> {
    /// Opened with the first item: most spools stay empty.
    file: Option<BufWriter<File>>,
    items: PhantomData<fn() -> T>,
}

impl<T> Default for Spool<T> {
    fn default() -> Self {
        Self { file: None, items: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    pub fn push(&mut self, item: &T) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = tempfile::tempfile().context("making a temporary file for what is to be done")?;
                self.file.insert(BufWriter::with_capacity(BUFFER_BYTES, file))
            }
        };
        serde_json::to_writer(&mut *file, item)?;
        file.write_all(b"\n").context("writing down what is to be done")
    }

    /// Reads the items back, in their order.
    pub fn replay(self) -> Result<impl Iterator<Item = Result<T>>> {
        let reader = match self.file {
            None => None,
            Some(writer) => {
                let mut file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                file.rewind().context("reading what is to be done")?;
                Some(BufReader::with_capacity(BUFFER_BYTES, file))
            }
        };
        Ok(reader.into_iter().flat_map(BufRead::lines).map(|line| {
            let line = line.context("reading what is to be done")?;
            serde_json::from_str(&line).context("reading what is to be done")
        }))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::tiering::object::{ETag, ObjectKey};
    use crate::tiering::reconcile::{Effect, Facts};
    use crate::tiering::storage_class::StorageClass;

    #[test]
    fn what_was_spooled_is_read_back_in_its_order() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let key = |i: u32| ObjectKey::new(format!("line\n{i} \u{10FFFF}\"")).unwrap();
        let etag = || ETag::new("e").unwrap();
        let facts = || Facts { etag: etag(), class: StorageClass::Unmanaged, size: u64::MAX, class_since: at };
        let effects = [
            Effect::Drop { key: key(0), event_time: None, last_batch: Some(u64::MAX) },
            Effect::Refresh { key: key(1), expected_etag: None, facts: facts() },
            Effect::Replace { key: key(2), expected_etag: etag(), facts: facts() },
            Effect::Adopt { key: key(3), event_time: at, facts: facts() },
        ];
        let mut spool = Spool::default();
        for effect in &effects {
            spool.push(effect).unwrap();
        }
        let back: Vec<Effect> = spool.replay().unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(back, effects);
        assert_eq!(Spool::<Effect>::default().replay().unwrap().count(), 0);
    }
}
