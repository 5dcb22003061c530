//! The `x-amz-restore` header.

use std::fmt;

use chrono::{DateTime, Utc};
use thiserror::Error;

/// Where a restore stands, by the object's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStatus {
    /// No restored copy and none on its way.
    NotRestored,
    Ongoing,
    /// A copy can be read; in an archive of Intelligent-Tiering it does not expire.
    Restored {
        expires: Option<DateTime<Utc>>,
    },
}

/// A header that says none of what S3 documents.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("x-amz-restore {0:?} cannot be read")]
pub struct StatusError(pub String);

impl RestoreStatus {
    /// Reads the header, none if the head has none. Spacing, order and further fields do not matter.
    pub fn from_header(header: Option<&str>) -> Result<Self, StatusError> {
        let Some(header) = header else { return Ok(Self::NotRestored) };
        let error = || StatusError(header.to_owned());
        let (mut ongoing, mut expires) = (None, None);
        let mut rest = header.trim();
        while !rest.is_empty() {
            let (name, value) = rest.split_once('=').ok_or_else(error)?;
            // The date has a comma in it, so fields end at a quote and not at a comma.
            let value = value.trim_start().strip_prefix('"').ok_or_else(error)?;
            let (value, after) = value.split_once('"').ok_or_else(error)?;
            match (name.trim(), value) {
                ("ongoing-request", "true") => ongoing = Some(true),
                ("ongoing-request", "false") => ongoing = Some(false),
                ("ongoing-request", _) => return Err(error()),
                ("expiry-date", date) => {
                    expires = Some(DateTime::parse_from_rfc2822(date.trim()).map_err(|_| error())?.to_utc());
                }
                _ => {}
            }
            rest = after.trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(',').ok_or_else(error)?.trim_start();
            }
        }
        match ongoing {
            Some(true) => Ok(Self::Ongoing),
            Some(false) => Ok(Self::Restored { expires }),
            None => Err(error()),
        }
    }
}

impl fmt::Display for RestoreStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRestored => f.write_str("not restored"),
            Self::Ongoing => f.write_str("restoring"),
            Self::Restored { expires: None } => f.write_str("restored"),
            Self::Restored { expires: Some(at) } => write!(f, "restored until {}", at.format("%Y-%m-%dT%H:%M:%SZ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_read_in_every_order_and_spacing() {
        let restored = RestoreStatus::Restored { expires: Some("2012-12-21T00:00:00Z".parse().unwrap()) };
        let cases = [
            (None, RestoreStatus::NotRestored),
            (Some("ongoing-request=\"true\""), RestoreStatus::Ongoing),
            (Some("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""), restored),
            (Some("ongoing-request=\"false\",expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""), restored),
            (Some(" expiry-date = \"Fri, 21 Dec 2012 00:00:00 GMT\" , ongoing-request = \"false\" "), restored),
            (Some("ongoing-request=\"false\""), RestoreStatus::Restored { expires: None }),
            (Some("ongoing-request=\"true\", mood=\"good\""), RestoreStatus::Ongoing),
        ];
        for (header, status) in cases {
            assert_eq!(RestoreStatus::from_header(header), Ok(status), "{header:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_text() {
        for header in [
            "",
            "true",
            "ongoing-request=true",
            "ongoing-request=\"maybe\"",
            "ongoing-request=\"true",
            "expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"",
            "ongoing-request=\"false\", expiry-date=\"soon\"",
            "ongoing-request=\"true\" ongoing-request=\"false\"",
        ] {
            assert_eq!(RestoreStatus::from_header(Some(header)), Err(StatusError(header.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "[a-z=\", -]{0,40}", value in any::<String>()) {
            prop_assert_ne!(RestoreStatus::from_header(Some(&header)), Ok(RestoreStatus::NotRestored));
            let header = format!("ongoing-request=\"false\", expiry-date={value}");
            prop_assert_ne!(RestoreStatus::from_header(Some(&header)), Ok(RestoreStatus::NotRestored));
        }
    }
}
