//! A good request of each RPC, made from the descriptors: so a new RPC has one without anybody's doing.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::wire::{Field, Value, encode};
use super::world::{CALLER, DOOMED, KEY, LEAKED, ROTATED, SECRET, START_SECONDS};

/// An RPC of ours.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// The path of its HTTP request.
    pub path: String,
    /// A good request.
    pub request: Vec<u8>,
    /// Whether its answer is a stream.
    pub streams: bool,
    /// The number of its field `page_token`, if it answers pages.
    pub page_token: Option<u64>,
}

/// Every RPC of ours.
#[must_use]
pub fn rpcs() -> Vec<Rpc> {
    let files = FileDescriptorSet::decode(keyledger::proto::FILE_DESCRIPTOR_SET);
    let files = files.expect("descriptors decode").file;
    let mut found = Vec::new();
    for file in &files {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let name = method.input_type();
                let message = message(&files, name).expect("its request");
                let token = message.field.iter().find(|field| field.name() == "page_token");
                found.push(Rpc {
                    request: filled(&files, message, method.name(), 0),
                    page_token: token.and_then(|token| u64::try_from(token.number()).ok()),
                    streams: method.server_streaming(),
                    path,
                });
            }
        }
    }
    found
}

/// The message of a full name such as `.keyledger.v1.Key`, nested ones too.
fn message<'a>(
    files: &'a [prost_types::FileDescriptorProto],
    name: &str,
) -> Option<&'a DescriptorProto> {
    files.iter().find_map(|file| {
        let inside = name.strip_prefix(&format!(".{}.", file.package()))?;
        let mut parts = inside.split('.');
        let first = parts.next()?;
        let top = file.message_type.iter().find(|message| message.name() == first)?;
        parts.try_fold(top, |within, part| {
            within.nested_type.iter().find(|message| message.name() == part)
        })
    })
}

/// A message of which each field is set that a good request sets.
fn filled(
    files: &[prost_types::FileDescriptorProto],
    of: &DescriptorProto,
    method: &str,
    depth: usize,
) -> Vec<u8> {
    let mut fields = Vec::new();
    for field in &of.field {
        let number = u64::try_from(field.number()).expect("a number");
        let value = match field.r#type() {
            Type::Message if depth < 3 => inner(files, field, method, depth),
            Type::String => {
                text(field.name(), of.name(), method).map(|text| Value::Bytes(text.into()))
            }
            Type::Message | Type::Bytes => None,
            _ => figure(field, of.name()).map(Value::Number),
        };
        let repeated = field.label() == Label::Repeated && field.r#type() == Type::Enum;
        match value {
            // Packed, as repeated numbers are.
            Some(Value::Number(only)) if repeated => {
                let only = only.to_le_bytes()[0];
                fields.push(Field { number, value: Value::Bytes(vec![only]) });
            }
            Some(value) => fields.push(Field { number, value }),
            None => {}
        }
    }
    encode(&fields)
}

fn inner(
    files: &[prost_types::FileDescriptorProto],
    field: &FieldDescriptorProto,
    method: &str,
    depth: usize,
) -> Option<Value> {
    let number = |number, value| Field { number, value };
    let seconds = |seconds: u64| encode(&[number(1, Value::Number(seconds))]);
    let hour = 3_600;
    let start = u64::try_from(START_SECONDS).expect("after 1970");
    let bytes = match (field.type_name(), field.name()) {
        // A list of what is new, or a page of what is old, has its own bounds.
        (_, "expire_before" | "unused_since" | "filter") => return None,
        (".google.protobuf.Timestamp", "start_time") => seconds(start),
        (".google.protobuf.Timestamp", "end_time") => seconds(start + hour),
        (".google.protobuf.Timestamp", "time") => seconds(start + 1),
        (".google.protobuf.Timestamp", "expire_time") => seconds(start + 1_000 * hour),
        (".google.protobuf.Timestamp", _) => return None,
        (".google.protobuf.Duration", _) => seconds(hour),
        (".google.protobuf.FieldMask", _) => {
            let path = if method == "PutAccount" { "display_name" } else { "name" };
            encode(&[number(1, Value::Bytes(path.into()))])
        }
        (name, _) => filled(files, message(files, name)?, method, depth + 1),
    };
    Some(Value::Bytes(bytes))
}

/// What a text field of that name holds.
fn text(field: &str, of: &str, method: &str) -> Option<String> {
    let ends =
        ["RotateKey", "RevokeKey", "DisableKey", "EnableKey", "ReportLeakedKey", "UpdateKey"];
    Some(match field {
        "tenant_id" | "tenants" => "acme".to_owned(),
        // What its end takes with it is nothing that other calls are about.
        "account_id" if method == "EraseAccount" => "other".to_owned(),
        "account_id" => "billing".to_owned(),
        "key_id" if method == "GetStragglers" => ROTATED.to_owned(),
        "key_id" if ends.contains(&method) => DOOMED.to_owned(),
        "key_id" => KEY.to_owned(),
        "caller_id" => CALLER.to_owned(),
        "api_key" if method == "ReportLeakedKey" => LEAKED.to_owned(),
        "api_key" => SECRET.to_owned(),
        "environment" => "live".to_owned(),
        "plan" => "enterprise".to_owned(),
        "name" | "display_name" | "owner" | "comment" | "note" | "action" => "something".to_owned(),
        "subject" => "someone".to_owned(),
        "ticket" => "T-1".to_owned(),
        "permissions" | "required_permissions" => "reports:read".to_owned(),
        "allowed_cidrs" => "203.0.113.0/24".to_owned(),
        "source_ip" => "203.0.113.7".to_owned(),
        "source" => "a public repository".to_owned(),
        "user_agent" => "curl/8".to_owned(),
        "key" | "value" if of.ends_with("Entry") => "something".to_owned(),
        _ => return None,
    })
}

/// What a number of that name is.
fn figure(field: &FieldDescriptorProto, of: &str) -> Option<u64> {
    Some(match field.name() {
        "page_size" | "cost" | "position" | "tree_size" | "size" | "leaf_index" | "generation"
        | "version" => 1,
        "granularity" | "group_by" | "roles" | "reason" => 2,
        "from_size" => 1,
        "to_size" => 2,
        "status" if of == "Account" => 1,
        _ => return None,
    })
}
