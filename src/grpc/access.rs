//! Who may call what: the one table of it. An RPC that is not in the table cannot be called.

use crate::domain::caller::Role;

/// What a call must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: load balancers ask too.
    Open,
    /// The key that the call is about; the handler judges it.
    KeyItself,
    /// The credential or the certificate of a caller, whatever its roles.
    AnyCaller,
    /// The credential or the certificate of a caller that may act in one of these roles.
    Roles(&'static [Role]),
}

/// What a caller that is bound to tenants gets about another tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The RPC is about no tenant.
    NoTenant,
    /// The request names a tenant, or is about all: another is refused, whether it exists or not.
    Refused,
    /// What the request names belongs to a tenant: another's is not found, as if it did not exist.
    Hidden,
    /// Another tenant's key is an unknown key; another tenant named in the request is refused.
    Unknown,
    /// Nothing is granted or shown that the caller does not hold itself.
    OwnOnly,
}

/// The RPC that each call of a key's holder costs.
pub const AUTHENTICATE: &str = "/keyledger.v1.KeyService/Authenticate";

/// The same for many questions on one call.
pub const AUTHENTICATE_STREAM: &str = "/keyledger.v1.KeyService/AuthenticateStream";

/// The RPC that each request costs that Envoy asks about.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The RPC by which the holder of a key asks what it is.
pub const WHO_AM_I: &str = "/keyledger.v1.KeyService/WhoAmI";

const KEY_READERS: Rule = Rule::Roles(&[Role::Issuer, Role::Auditor, Role::Analyst]);
const ACCOUNT_READERS: Rule =
    Rule::Roles(&[Role::Provisioner, Role::Issuer, Role::Auditor, Role::Analyst]);
const ANALYST: Rule = Rule::Roles(&[Role::Analyst]);
const KEY_WARDENS: Rule = Rule::Roles(&[Role::Analyst, Role::Issuer]);
const ISSUER: Rule = Rule::Roles(&[Role::Issuer]);
const AUDITOR: Rule = Rule::Roles(&[Role::Auditor]);
const ADMIN: Rule = Rule::Roles(&[Role::Admin]);

/// Every RPC by the path of its HTTP request. The busiest is first. An admin includes all roles.
const RULES: [(&str, Rule, Bound); 42] = [
    (AUTHENTICATE, Rule::Roles(&[Role::Authenticator]), Bound::Unknown),
    (CHECK, Rule::Roles(&[Role::Authenticator]), Bound::Unknown),
    (AUTHENTICATE_STREAM, Rule::Roles(&[Role::Authenticator]), Bound::Unknown),
    ("/keyledger.v1.KeyService/CreateKey", ISSUER, Bound::Refused),
    ("/keyledger.v1.KeyService/GetKey", KEY_READERS, Bound::Hidden),
    ("/keyledger.v1.KeyService/ListKeys", KEY_READERS, Bound::Refused),
    ("/keyledger.v1.KeyService/UpdateKey", ISSUER, Bound::Hidden),
    ("/keyledger.v1.KeyService/DisableKey", ISSUER, Bound::Hidden),
    ("/keyledger.v1.KeyService/EnableKey", ISSUER, Bound::Hidden),
    ("/keyledger.v1.KeyService/RotateKey", ISSUER, Bound::Hidden),
    ("/keyledger.v1.KeyService/RevokeKey", ISSUER, Bound::Hidden),
    (
        "/keyledger.v1.KeyService/ReportLeakedKey",
        Rule::Roles(&[Role::Issuer, Role::Authenticator]),
        Bound::Hidden,
    ),
    (WHO_AM_I, Rule::KeyItself, Bound::NoTenant),
    ("/keyledger.v1.AccountService/PutAccount", Rule::Roles(&[Role::Provisioner]), Bound::Refused),
    ("/keyledger.v1.AccountService/GetAccount", ACCOUNT_READERS, Bound::Hidden),
    ("/keyledger.v1.AccountService/ListAccounts", ACCOUNT_READERS, Bound::Refused),
    ("/keyledger.v1.AuditService/StreamEvents", AUDITOR, Bound::Refused),
    (
        "/keyledger.v1.AuditService/GetKeyTimeline",
        Rule::Roles(&[Role::Auditor, Role::Issuer]),
        Bound::Hidden,
    ),
    ("/keyledger.v1.AuditService/GetKeyAt", AUDITOR, Bound::Hidden),
    ("/keyledger.v1.AuditService/GetAccountAt", AUDITOR, Bound::Hidden),
    (
        "/keyledger.v1.UsageService/GetKeyUsage",
        Rule::Roles(&[Role::Analyst, Role::Auditor]),
        Bound::Hidden,
    ),
    ("/keyledger.v1.UsageService/QueryUsage", ANALYST, Bound::Refused),
    ("/keyledger.v1.UsageService/ListIdleKeys", KEY_WARDENS, Bound::Refused),
    ("/keyledger.v1.UsageService/GetStragglers", KEY_WARDENS, Bound::Hidden),
    ("/keyledger.v1.UsageService/ListSignals", KEY_WARDENS, Bound::Refused),
    ("/keyledger.v1.AdminService/GetStatus", Rule::Roles(&[Role::Operator]), Bound::Refused),
    ("/keyledger.v1.AdminService/Backup", Rule::Roles(&[Role::Operator]), Bound::Refused),
    ("/keyledger.v1.AdminService/CreateCaller", ADMIN, Bound::OwnOnly),
    ("/keyledger.v1.AdminService/RotateCaller", ADMIN, Bound::Hidden),
    ("/keyledger.v1.AdminService/RevokeCaller", ADMIN, Bound::Hidden),
    ("/keyledger.v1.AdminService/ListCallers", ADMIN, Bound::OwnOnly),
    ("/keyledger.v1.AdminService/EraseAccount", ADMIN, Bound::Refused),
    ("/keyledger.v1.AdminService/RotatePepper", ADMIN, Bound::Refused),
    ("/keyledger.v1.AdminService/RetirePepper", ADMIN, Bound::Refused),
    ("/keyledger.v1.AdminService/ListPepperDependents", ADMIN, Bound::Refused),
    ("/keyledger.v1.AuditService/GetCheckpoint", AUDITOR, Bound::NoTenant),
    ("/keyledger.v1.AuditService/GetInclusionProof", AUDITOR, Bound::NoTenant),
    ("/keyledger.v1.AuditService/GetConsistencyProof", AUDITOR, Bound::NoTenant),
    ("/keyledger.v1.AuditService/GetVerifierKey", AUDITOR, Bound::NoTenant),
    ("/grpc.health.v1.Health/Check", Rule::Open, Bound::NoTenant),
    ("/grpc.health.v1.Health/Watch", Rule::Open, Bound::NoTenant),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Rule::AnyCaller, Bound::NoTenant),
];

/// Streams that the gate ends when their caller's credential works no more. StreamEvents ends itself then: it says
/// from where to resume.
const ENDED_BY_GATE: [&str; 3] = [
    AUTHENTICATE_STREAM,
    "/keyledger.v1.AdminService/Backup",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// What manages: RPCs that change something, and the one that takes all data away. Whatever they refuse goes on
/// record.
const MANAGING: [&str; 15] = [
    "/keyledger.v1.KeyService/CreateKey",
    "/keyledger.v1.KeyService/UpdateKey",
    "/keyledger.v1.KeyService/DisableKey",
    "/keyledger.v1.KeyService/EnableKey",
    "/keyledger.v1.KeyService/RotateKey",
    "/keyledger.v1.KeyService/RevokeKey",
    "/keyledger.v1.KeyService/ReportLeakedKey",
    "/keyledger.v1.AccountService/PutAccount",
    "/keyledger.v1.AdminService/Backup",
    "/keyledger.v1.AdminService/CreateCaller",
    "/keyledger.v1.AdminService/RotateCaller",
    "/keyledger.v1.AdminService/RevokeCaller",
    "/keyledger.v1.AdminService/EraseAccount",
    "/keyledger.v1.AdminService/RotatePepper",
    "/keyledger.v1.AdminService/RetirePepper",
];

/// The RPC of that path as the table has it, and its rule; none if there is no such RPC.
#[must_use]
pub fn find(path: &str) -> Option<(&'static str, Rule)> {
    RULES.iter().find(|(known, ..)| *known == path).map(|(known, rule, _)| (*known, *rule))
}

/// The paths of all RPCs, in the order of the table.
pub fn paths() -> impl ExactSizeIterator<Item = &'static str> {
    RULES.iter().map(|(path, ..)| *path)
}

/// Which RPC of the table has that path; none if there is no such RPC.
#[must_use]
pub fn number(path: &str) -> Option<usize> {
    RULES.iter().position(|(known, ..)| *known == path)
}

/// Whether the RPC of that path manages: see [`MANAGING`].
#[must_use]
pub fn manages(path: &str) -> bool {
    MANAGING.contains(&path)
}

/// Whether the gate ends what the RPC of that path streams: see [`ENDED_BY_GATE`].
#[must_use]
pub fn is_ended_by_gate(path: &str) -> bool {
    ENDED_BY_GATE.contains(&path)
}

/// The whole table: path, rule, and what a caller bound to tenants gets about another tenant. The
/// bound is kept by the use cases, which know what a request is about; a test walks the table.
pub fn table() -> impl Iterator<Item = (&'static str, Rule, Bound)> {
    RULES.iter().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    fn rule(path: &str) -> Option<Rule> {
        find(path).map(|(_, rule)| rule)
    }

    /// An RPC that changes something takes a `request_id`.
    #[test]
    fn what_changes_something_manages_and_a_backup_does() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors decode");
        let messages = files.file.iter().flat_map(|file| &file.message_type);
        let named = messages.filter(|message| {
            message.field.iter().any(|field| field.name() == "request_id")
                && message.name().ends_with("Request")
        });
        let mut changing: BTreeSet<_> =
            named.filter_map(|message| message.name().strip_suffix("Request")).collect();
        changing.insert("Backup");
        let managing = MANAGING.iter().filter_map(|path| path.rsplit('/').next());
        assert_eq!(managing.collect::<BTreeSet<_>>(), changing);
        assert!(MANAGING.iter().all(|path| find(path).is_some()));
    }

    fn methods_of_ours(fits: impl Fn(&MethodDescriptorProto) -> bool) -> BTreeSet<String> {
        let files =
            FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors decode").file;
        let mut paths = BTreeSet::new();
        for file in &files {
            for service in &file.service {
                for method in service.method.iter().filter(|method| fits(method)) {
                    let (package, service) = (file.package(), service.name());
                    paths.insert(format!("/{package}.{service}/{}", method.name()));
                }
            }
        }
        paths
    }

    fn served_by_us() -> BTreeSet<String> {
        methods_of_ours(|_| true)
    }

    #[test]
    fn each_stream_of_a_caller_is_ended_by_the_gate_or_ends_itself() {
        let mut streams = methods_of_ours(MethodDescriptorProto::server_streaming);
        assert!(streams.remove("/keyledger.v1.AuditService/StreamEvents"), "ends itself");
        // Of the others, whose descriptors are not here, a Check is none.
        let is_other = |path: &str| !path.starts_with("/keyledger.") && path != CHECK;
        for (path, rule, _) in table().filter(|(path, ..)| is_other(path)) {
            if matches!(rule, Rule::AnyCaller | Rule::Roles(_)) {
                streams.insert(path.to_owned());
            }
        }
        assert_eq!(BTreeSet::from(ENDED_BY_GATE.map(str::to_owned)), streams);
    }

    #[test]
    fn every_rpc_has_one_rule_and_every_rule_of_ours_an_rpc() {
        let ruled: Vec<_> = RULES.iter().map(|(path, ..)| (*path).to_owned()).collect();
        let once: BTreeSet<_> = ruled.iter().cloned().collect();
        assert_eq!(once.len(), ruled.len(), "a path is there twice");
        let of_ours = once.into_iter().filter(|path| path.starts_with("/keyledger."));
        assert_eq!(of_ours.collect::<BTreeSet<_>>(), served_by_us());
    }

    /// What the protos say, RPC by RPC: `Role: x.` or `Roles: x, y.` in the comment above it.
    fn promised() -> Vec<(String, BTreeSet<String>)> {
        let protos = [
            ("KeyService", include_str!("../../proto/keyledger/v1/key_service.proto")),
            ("AccountService", include_str!("../../proto/keyledger/v1/account_service.proto")),
            ("AdminService", include_str!("../../proto/keyledger/v1/admin_service.proto")),
            ("AuditService", include_str!("../../proto/keyledger/v1/audit_service.proto")),
            ("UsageService", include_str!("../../proto/keyledger/v1/usage_service.proto")),
        ];
        let mut found = Vec::new();
        for (service, text) in protos {
            let mut comment = String::new();
            for line in text.lines().map(str::trim) {
                if let Some(words) = line.strip_prefix("// ") {
                    comment = format!("{comment} {words}");
                    continue;
                }
                if let Some((name, _)) =
                    line.strip_prefix("rpc ").and_then(|rpc| rpc.split_once('('))
                {
                    let stated = comment.split_once("Role: ").or(comment.split_once("Roles: "));
                    let roles = stated.map_or("", |(_, rest)| rest.split('.').next().unwrap_or(""));
                    let roles = roles.split(", ").filter(|role| !role.is_empty());
                    let path = format!("/keyledger.v1.{service}/{name}");
                    found.push((path, roles.map(str::to_owned).collect()));
                }
                comment.clear();
            }
        }
        found
    }

    #[test]
    fn the_rules_are_those_that_the_protos_promise() {
        let promised = promised();
        assert_eq!(promised.len(), served_by_us().len());
        for (path, roles) in promised {
            match rule(&path).expect("ruled") {
                Rule::Roles(allowed) => {
                    let allowed = allowed.iter().map(|role| role.name().to_owned());
                    assert_eq!(allowed.collect::<BTreeSet<_>>(), roles, "{path}");
                }
                Rule::KeyItself => assert_eq!(path, "/keyledger.v1.KeyService/WhoAmI"),
                other => panic!("{path} has {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_in_no_rule_has_none() {
        for path in ["", "/", "/keyledger.v1.KeyService/", "/keyledger.v1.KeyService/authenticate"]
        {
            assert_eq!(rule(path), None);
        }
        assert_eq!(rule("/keyledger.v1.KeyService/Authenticate/"), None);
    }
}
