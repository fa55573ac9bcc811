//! UpdateKey.

use tonic::Request;

use crate::app::App;
use crate::app::error::AppError;
use crate::app::update_key::KeyChange;
use crate::domain::ids::KeyId;
use crate::grpc::call::Incoming;
use crate::grpc::decode::{Violations, when};
use crate::grpc::encode;
use crate::proto::v1::{UpdateKeyRequest, UpdateKeyResponse};

/// What a mask may name.
const FIELDS: [&str; 5] = ["name", "metadata", "allowed_cidrs", "scopes", "expire_time"];

pub(super) async fn handle(
    app: &App,
    request: Request<UpdateKeyRequest>,
) -> Result<UpdateKeyResponse, AppError> {
    let (call, (id, change)) = Incoming::of(request)?.read(read)?;
    let changed = app.update_key(&call, id, &change).await?;
    Ok(UpdateKeyResponse {
        key: Some(encode::key(changed.resource)),
        position: changed.position.get(),
        replayed: changed.replayed,
    })
}

fn read(bad: &mut Violations, message: UpdateKeyRequest) -> Option<(KeyId, KeyChange)> {
    let expected = bad.expected_position(message.expected_position);
    let mask = bad.mask(message.update_mask.as_ref(), &FIELDS).and_then(|mask| {
        let must = || format!("must name at least one of {}", FIELDS.join(", "));
        if mask.is_empty() { bad.refuse("update_mask", must()) } else { Some(mask) }
    });
    let key = bad.required("key", message.key)?;
    let id = bad.key_id("key.key_id", &key.key_id);
    let named = |field| mask.as_ref().is_some_and(|mask| mask.contains(&field));
    let name = when(named("name"), || bad.name("key.name", key.name));
    let metadata = when(named("metadata"), || bad.metadata("key.metadata", key.metadata));
    let cidrs = when(named("allowed_cidrs"), || bad.cidrs("key.allowed_cidrs", &key.allowed_cidrs));
    let scopes = when(named("scopes"), || {
        let scopes = bad.scopes("key.scopes", key.scopes.as_ref())?;
        scopes.or_else(|| bad.refuse("key.scopes", "must be set if update_mask names it"))
    });
    let expire_time = when(named("expire_time"), || {
        let time = bad.time("key.expire_time", key.expire_time)?;
        time.or_else(|| bad.refuse("key.expire_time", "must be set if update_mask names it"))
    });
    let change = KeyChange {
        name: name?,
        metadata: metadata?,
        allowed_cidrs: cidrs?,
        scopes: scopes?,
        expire_time: expire_time?,
        expected: expected?,
    };
    mask?;
    Some((id?, change))
}

#[cfg(test)]
mod tests {
    use prost_types::{FieldMask, Timestamp};

    use super::*;
    use crate::grpc::decode::decode;
    use crate::grpc::decode::tests::violated;
    use crate::proto::v1::{Key, Scopes};

    fn update(paths: &[&str], key: Key) -> UpdateKeyRequest {
        let key = Key { key_id: KeyId([7; 12]).to_string(), ..key };
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        UpdateKeyRequest {
            key: Some(key),
            update_mask: Some(FieldMask { paths }),
            ..Default::default()
        }
    }

    #[test]
    fn only_the_fields_in_the_mask_count() {
        let key = Key {
            name: "new".to_owned(),
            metadata: [(String::new(), String::new())].into(),
            ..Key::default()
        };
        let (_, change) = decode(|bad| read(bad, update(&["name"], key))).expect("valid");
        assert_eq!(change.name.as_deref(), Some("new"));
        assert!(change.metadata.is_none() && change.allowed_cidrs.is_none());
        assert!(change.scopes.is_none() && change.expire_time.is_none());
        let (_, change) =
            decode(|bad| read(bad, update(&["metadata", "allowed_cidrs"], Key::default())))
                .expect("valid");
        assert_eq!(change.metadata, Some([].into()));
        assert_eq!(change.allowed_cidrs, Some(Vec::new()));
    }

    #[test]
    fn a_mask_names_something_and_nothing_unknown() {
        assert_eq!(violated(|bad| read(bad, update(&[], Key::default()))), ["update_mask"]);
        let unmasked = UpdateKeyRequest { update_mask: None, ..update(&[], Key::default()) };
        assert_eq!(violated(|bad| read(bad, unmasked)), ["update_mask"]);
        for path in ["*", "", "state", "key.name", "Name"] {
            let request = update(&["metadata", path], Key::default());
            assert_eq!(violated(|bad| read(bad, request)), ["update_mask.paths[1]"], "{path}");
        }
        let request = update(&["name"; 6], Key::default());
        assert_eq!(violated(|bad| read(bad, request)), ["update_mask.paths"]);
    }

    #[test]
    fn name_scopes_and_expiry_cannot_be_emptied() {
        let request = update(&["name", "scopes", "expire_time"], Key::default());
        let fields = ["key.name", "key.scopes", "key.expire_time"];
        assert_eq!(violated(|bad| read(bad, request)), fields);
        let key = Key {
            scopes: Some(Scopes::default()),
            expire_time: Some(Timestamp::default()),
            ..Key::default()
        };
        let request = update(&["scopes", "expire_time"], key);
        assert_eq!(violated(|bad| read(bad, request)), [""; 0]);
    }

    #[test]
    fn every_field_is_held_to_its_bound_under_its_own_path() {
        let key = Key {
            name: "n".repeat(201),
            metadata: [("m".to_owned(), "v".repeat(513))].into(),
            allowed_cidrs: vec!["::".to_owned(), "x".to_owned()],
            scopes: Some(Scopes { permissions: vec!["*:a".to_owned()] }),
            expire_time: Some(Timestamp { seconds: 253_402_300_800, nanos: 0 }),
            ..Key::default()
        };
        let request = UpdateKeyRequest { expected_position: Some(0), ..update(&FIELDS, key) };
        let fields = [
            "expected_position",
            "key.name",
            "key.metadata",
            "key.allowed_cidrs[1]",
            "key.scopes.permissions[0]",
            "key.expire_time",
        ];
        assert_eq!(violated(|bad| read(bad, request)), fields);
        let nothing = ["update_mask", "key"];
        assert_eq!(violated(|bad| read(bad, UpdateKeyRequest::default())), nothing);
    }
}
