//! How an object's evidence is written into its row: 62 bytes, so that a row stays within the kilobyte that one write of
//! DynamoDB is billed by. The first byte says which layout it is.

use thiserror::Error;

use super::{Day, ObjectEvidence};

const LAYOUT: u8 = 1;
const READ_SINCE_WRITTEN: u8 = 1;
const HAS_WRITTEN_DAY: u8 = 2;
const HAS_READ_DAY: u8 = 4;

/// Bytes that are no evidence, or none of this version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceBytesError {
    #[error("evidence of layout {0} is of a newer tierd; this one knows layout {LAYOUT}")]
    Layout(u8),
    #[error("evidence of layout {LAYOUT} has 62 bytes, not {0}")]
    Length(usize),
}

impl ObjectEvidence {
    pub fn to_bytes(&self) -> Vec<u8> {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.read_since_written, READ_SINCE_WRITTEN)
            | flag(self.written_day.is_some(), HAS_WRITTEN_DAY)
            | flag(self.last_read_day.is_some(), HAS_READ_DAY);
        let mut bytes = Vec::with_capacity(62);
        bytes.extend([LAYOUT, flags]);
        bytes.extend(self.written_day.unwrap_or(0).to_le_bytes());
        bytes.extend(self.last_read_day.unwrap_or(0).to_le_bytes());
        bytes.extend(self.read_days.to_le_bytes());
        bytes.extend(self.recent_days.to_le_bytes());
        bytes.extend(self.heat.to_le_bytes());
        bytes.extend(self.last_day_bytes.to_le_bytes());
        bytes.extend(self.last_day_reads.to_le_bytes());
        bytes.extend(self.earlier_bytes.to_le_bytes());
        bytes.extend(self.earlier_reads.to_le_bytes());
        bytes
    }

    /// What [`ObjectEvidence::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvidenceBytesError> {
        if let Some(layout) = bytes.first().filter(|layout| **layout != LAYOUT) {
            return Err(EvidenceBytesError::Layout(*layout));
        }
        let whole: &[u8; 62] = bytes.try_into().map_err(|_| EvidenceBytesError::Length(bytes.len()))?;
        let flags = whole[1];
        let mut left = &whole[2..];
        let day = |present: u8, day: [u8; 4]| (flags & present != 0).then(|| Day::from_le_bytes(day));
        Ok(Self {
            read_since_written: flags & READ_SINCE_WRITTEN != 0,
            written_day: day(HAS_WRITTEN_DAY, take(&mut left)),
            last_read_day: day(HAS_READ_DAY, take(&mut left)),
            read_days: u32::from_le_bytes(take(&mut left)),
            recent_days: u64::from_le_bytes(take(&mut left)),
            heat: f64::from_le_bytes(take(&mut left)),
            last_day_bytes: u64::from_le_bytes(take(&mut left)),
            last_day_reads: u64::from_le_bytes(take(&mut left)),
            earlier_bytes: f64::from_le_bytes(take(&mut left)),
            earlier_reads: f64::from_le_bytes(take(&mut left)),
        })
    }
}

fn take<const N: usize>(left: &mut &[u8]) -> [u8; N] {
    let (first, rest) = left.split_first_chunk().expect("the length was checked");
    *left = rest;
    *first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{AccessDelta, DayAccess, Gap};
    use super::*;

    proptest! {
        #[test]
        fn evidence_comes_back_from_its_bytes_as_it_was(
            days in prop::collection::vec((-400_i32..40_000, 0_u64..9, any::<u64>(), any::<bool>()), 0..9),
        ) {
            let days = days.into_iter().map(|(day, reads, bytes_read, written)| DayAccess { day, reads, bytes_read, written });
            let evidence = ObjectEvidence::default().fold(&AccessDelta { days: days.collect() }, &mut Vec::<Gap>::new());
            prop_assert_eq!(ObjectEvidence::from_bytes(&evidence.to_bytes()), Ok(evidence));
        }

        #[test]
        fn other_bytes_are_refused_or_read_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            match ObjectEvidence::from_bytes(&bytes) {
                Ok(_) => prop_assert_eq!((bytes[0], bytes.len()), (LAYOUT, 62)),
                Err(EvidenceBytesError::Layout(layout)) => prop_assert_ne!(layout, LAYOUT),
                Err(EvidenceBytesError::Length(length)) => prop_assert_eq!(length, bytes.len()),
            }
        }
    }
}
