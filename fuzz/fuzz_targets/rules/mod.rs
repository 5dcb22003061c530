//! The rules by which the targets of the log parsers count.

use tierd::tiering::access::{CountRule, CountingRules, PrincipalPattern};

pub fn rules() -> CountingRules {
    CountingRules {
        rules: vec![
            CountRule { event: "PutObject".into(), with_parameter: None },
            CountRule { event: "GetObject".into(), with_parameter: Some("response-content-disposition".into()) },
        ],
        exclude: vec![PrincipalPattern::own_identity("arn:aws:sts::1:assumed-role/t/i")],
        bucket_prefix: "siuu".into(),
    }
}
