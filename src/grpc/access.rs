//! Who may call what: the one table of it. An RPC that is not in the table cannot be called.

use crate::domain::caller::Role;

/// What a call must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing: load balancers ask too.
    Open,
    /// The key that the call is about; the handler judges it.
    KeyItself,
    /// The credential of a caller, whatever its roles.
    AnyCaller,
    /// The credential of a caller that may act in one of these roles.
    Roles(&'static [Role]),
}

const KEY_READERS: Rule = Rule::Roles(&[Role::Issuer, Role::Auditor, Role::Analyst]);
const ACCOUNT_READERS: Rule =
    Rule::Roles(&[Role::Provisioner, Role::Issuer, Role::Auditor, Role::Analyst]);
const ISSUER: Rule = Rule::Roles(&[Role::Issuer]);
const ADMIN: Rule = Rule::Roles(&[Role::Admin]);

/// Every RPC by the path of its HTTP request. The busiest is first. An admin includes all roles.
const RULES: [(&str, Rule); 22] = [
    ("/keyledger.v1.KeyService/Authenticate", Rule::Roles(&[Role::Authenticator])),
    ("/keyledger.v1.KeyService/CreateKey", ISSUER),
    ("/keyledger.v1.KeyService/GetKey", KEY_READERS),
    ("/keyledger.v1.KeyService/ListKeys", KEY_READERS),
    ("/keyledger.v1.KeyService/UpdateKey", ISSUER),
    ("/keyledger.v1.KeyService/DisableKey", ISSUER),
    ("/keyledger.v1.KeyService/EnableKey", ISSUER),
    ("/keyledger.v1.KeyService/RotateKey", ISSUER),
    ("/keyledger.v1.KeyService/RevokeKey", ISSUER),
    ("/keyledger.v1.KeyService/ReportLeakedKey", Rule::Roles(&[Role::Issuer, Role::Authenticator])),
    ("/keyledger.v1.KeyService/WhoAmI", Rule::KeyItself),
    ("/keyledger.v1.AccountService/PutAccount", Rule::Roles(&[Role::Provisioner])),
    ("/keyledger.v1.AccountService/GetAccount", ACCOUNT_READERS),
    ("/keyledger.v1.AccountService/ListAccounts", ACCOUNT_READERS),
    ("/keyledger.v1.AdminService/GetStatus", Rule::Roles(&[Role::Operator])),
    ("/keyledger.v1.AdminService/CreateCaller", ADMIN),
    ("/keyledger.v1.AdminService/RotateCaller", ADMIN),
    ("/keyledger.v1.AdminService/RevokeCaller", ADMIN),
    ("/keyledger.v1.AdminService/ListCallers", ADMIN),
    ("/grpc.health.v1.Health/Check", Rule::Open),
    ("/grpc.health.v1.Health/Watch", Rule::Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Rule::AnyCaller),
];

/// The rule for the RPC of that path; none if there is no such RPC.
#[must_use]
pub fn rule(path: &str) -> Option<Rule> {
    RULES.iter().find(|(known, _)| *known == path).map(|(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    fn served_by_us() -> BTreeSet<String> {
        let files =
            FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors decode").file;
        let mut paths = BTreeSet::new();
        for file in &files {
            for service in &file.service {
                for method in &service.method {
                    let (package, service) = (file.package(), service.name());
                    paths.insert(format!("/{package}.{service}/{}", method.name()));
                }
            }
        }
        paths
    }

    #[test]
    fn every_rpc_has_one_rule_and_every_rule_of_ours_an_rpc() {
        let ruled: Vec<_> = RULES.iter().map(|(path, _)| (*path).to_owned()).collect();
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
