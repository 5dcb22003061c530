//! An object's ACL as the headers that give a copy the same one.

use std::fmt::Write as _;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::operation::get_object_acl::GetObjectAclOutput;
use aws_sdk_s3::types::{Grant, Permission};

use crate::aws::{AwsError, AwsResult, Kind};
use crate::s3::S3;
use crate::s3::object::ObjectHead;
use crate::tiering::object::ObjectId;

/// The grant headers of a copy. All None for a private object, which is what a copy becomes by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants {
    pub full_control: Option<String>,
    pub read: Option<String>,
    pub read_acp: Option<String>,
    pub write_acp: Option<String>,
}

impl S3 {
    /// The ACL of the version that `head` saw, as headers.
    pub(super) async fn grants(&self, id: &ObjectId, head: &ObjectHead) -> AwsResult<Grants> {
        let once = RetryConfig::standard().with_max_attempts(1);
        let acl = match self.object_acl(id, head, Some(once)).await {
            Ok(acl) => acl,
            // S3 always says what went wrong, by a code. Some S3-compatible servers fall over where an object was never
            // given an ACL; then there is none to keep.
            Err(error) if error.status == Some(500) && error.code.is_none() => return Ok(Grants::default()),
            Err(error) if matches!(error.kind, Kind::Transient | Kind::Throttled | Kind::Unreachable) => {
                self.object_acl(id, head, None).await?
            }
            Err(error) => return Err(error),
        };
        let owner = acl.owner.and_then(|owner| owner.id);
        Ok(Grants::of(owner.as_deref(), &acl.grants.unwrap_or_default()))
    }

    async fn object_acl(
        &self,
        id: &ObjectId,
        head: &ObjectHead,
        retry: Option<RetryConfig>,
    ) -> AwsResult<GetObjectAclOutput> {
        let mut config = aws_sdk_s3::config::Builder::new();
        config.set_retry_config(retry);
        self.copier
            .get_object_acl()
            .bucket(id.bucket.as_str())
            .key(id.key.as_str())
            .set_version_id(head.version_id.clone())
            .customize()
            .config_override(config)
            .send()
            .await
            .map_err(|e| AwsError::new("GetObjectAcl", id, e))
    }
}

impl Grants {
    fn of(owner: Option<&str>, grants: &[Grant]) -> Self {
        let is_default = match grants {
            [only] => {
                only.permission == Some(Permission::FullControl)
                    && only.grantee.as_ref().is_some_and(|g| g.id.is_some() && g.id.as_deref() == owner)
            }
            _ => false,
        };
        let mut headers = Self::default();
        if is_default {
            return headers;
        }
        for grant in grants {
            let (Some(grantee), Some(permission)) = (&grant.grantee, &grant.permission) else { continue };
            let (kind, value) = match (&grantee.id, &grantee.uri, &grantee.email_address) {
                (Some(id), ..) => ("id", id),
                (_, Some(uri), _) => ("uri", uri),
                (_, _, Some(email)) => ("emailAddress", email),
                (None, None, None) => continue,
            };
            let header = match permission {
                Permission::FullControl => &mut headers.full_control,
                Permission::Read => &mut headers.read,
                Permission::ReadAcp => &mut headers.read_acp,
                Permission::WriteAcp => &mut headers.write_acp,
                // WRITE means nothing on an object, and no header of a copy can say it.
                _ => continue,
            };
            let list = header.get_or_insert_default();
            if !list.is_empty() {
                list.push_str(", ");
            }
            write!(list, "{kind}=\"{value}\"").expect("writing to a string cannot fail");
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{Grantee, Type};

    use super::*;

    fn grant(grantee: aws_sdk_s3::types::builders::GranteeBuilder, permission: Permission) -> Grant {
        let grantee = grantee.r#type(Type::CanonicalUser).build().unwrap();
        Grant::builder().grantee(grantee).permission(permission).build()
    }

    #[test]
    fn only_what_is_not_the_default_is_sent() {
        let everyone = "http://acs.amazonaws.com/groups/global/AllUsers";
        let id = |id: &str| Grantee::builder().id(id);
        let own = || grant(id("me"), Permission::FullControl);
        assert_eq!(Grants::of(Some("me"), &[own()]), Grants::default());

        let public = [own(), grant(Grantee::builder().uri(everyone), Permission::Read)];
        let expected = Grants {
            full_control: Some("id=\"me\"".to_owned()),
            read: Some(format!("uri=\"{everyone}\"")),
            ..Grants::default()
        };
        assert_eq!(Grants::of(Some("me"), &public), expected);

        // Somebody else alone has the object: a copy without headers would give it to us instead.
        let foreign = Grants { full_control: Some("id=\"other\"".to_owned()), ..Grants::default() };
        assert_eq!(Grants::of(Some("me"), &[grant(id("other"), Permission::FullControl)]), foreign);

        let two = [grant(id("a"), Permission::ReadAcp), grant(id("b"), Permission::ReadAcp)];
        assert_eq!(Grants::of(Some("me"), &two).read_acp.as_deref(), Some("id=\"a\", id=\"b\""));
    }
}
