//! What each method needs. The one table: what is not in it is refused.

use super::{Caller, Grant};

/// What a caller has to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Nothing.
    Open,
    /// To read: admins and readers.
    Read,
    /// To change something, or to take a copy of everything: admins.
    Write,
    /// To be a node.
    Node,
}

/// For what a caller has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The whole cluster.
    Cluster,
    /// The app that the request names, or the cluster. The service checks which; see [`Caller::app`].
    App,
    /// Either; what is answered is only what the caller may see.
    Either,
}

/// What one method needs.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) path: &'static str,
    pub(super) level: Level,
    of: Of,
}

const fn rule(path: &'static str, level: Level, of: Of) -> Rule {
    Rule { path, level, of }
}

use Level::{Node, Open, Read, Write};
use Of::{App, Cluster, Either};

#[rustfmt::skip]
static RULES: [Rule; 41] = [
    rule("/fanfare.control.v1.AppService/CreateApp", Write, Cluster),
    rule("/fanfare.control.v1.AppService/GetApp", Read, App),
    rule("/fanfare.control.v1.AppService/ListApps", Read, Either),
    // Quotas and limits only for the cluster's admin; the service sees which settings it is about.
    rule("/fanfare.control.v1.AppService/UpdateApp", Write, App),
    // Whoever runs the cluster disables a tenant, and the tenant must not undo it.
    rule("/fanfare.control.v1.AppService/DisableApp", Write, Cluster),
    rule("/fanfare.control.v1.AppService/EnableApp", Write, Cluster),
    rule("/fanfare.control.v1.AppService/DeleteApp", Write, Cluster),
    rule("/fanfare.control.v1.KeyService/CreateKey", Write, App),
    rule("/fanfare.control.v1.KeyService/ListKeys", Read, App),
    rule("/fanfare.control.v1.KeyService/RotateKey", Write, App),
    rule("/fanfare.control.v1.KeyService/RevokeKey", Write, App),
    rule("/fanfare.control.v1.NamespaceService/ListNamespaces", Read, App),
    rule("/fanfare.control.v1.NamespaceService/SetNamespace", Write, App),
    rule("/fanfare.control.v1.NamespaceService/DeleteNamespace", Write, App),
    rule("/fanfare.control.v1.WebhookService/ListDeadLetters", Read, App),
    rule("/fanfare.control.v1.WebhookService/ReplayDeadLetters", Write, App),
    rule("/fanfare.control.v1.WebhookService/DeleteDeadLetters", Write, App),
    rule("/fanfare.control.v1.UsageService/QueryUsage", Read, App),
    rule("/fanfare.control.v1.UsageService/WatchUsage", Read, App),
    rule("/fanfare.control.v1.NodeService/ListNodes", Read, Cluster),
    rule("/fanfare.control.v1.NodeService/DrainNode", Write, Cluster),
    rule("/fanfare.control.v1.NodeService/GetCluster", Read, Cluster),
    rule("/fanfare.control.v1.ConnectionService/ListConnections", Read, App),
    rule("/fanfare.control.v1.ConnectionService/GetConnection", Read, App),
    rule("/fanfare.control.v1.ConnectionService/CloseConnection", Write, App),
    rule("/fanfare.control.v1.ChannelService/ListChannels", Read, App),
    rule("/fanfare.control.v1.ChannelService/GetChannel", Read, App),
    rule("/fanfare.control.v1.ChannelService/ReadHistory", Read, App),
    rule("/fanfare.control.v1.TailService/Tail", Read, App),
    rule("/fanfare.control.v1.AccessService/CreateToken", Write, Either),
    rule("/fanfare.control.v1.AccessService/ListTokens", Read, Either),
    rule("/fanfare.control.v1.AccessService/RotateToken", Write, Either),
    rule("/fanfare.control.v1.AccessService/RevokeToken", Write, Either),
    rule("/fanfare.control.v1.AuditService/ListAudit", Read, Either),
    // What is in a backup is more than a reader is ever told.
    rule("/fanfare.control.v1.RegistryService/Backup", Write, Cluster),
    rule("/fanfare.control.v1.RegistryService/Restore", Write, Cluster),
    rule("/fanfare.control.v1.RegistryService/Reseal", Write, Cluster),
    rule("/fanfare.control.v1.LinkService/Attach", Node, Cluster),
    // Load balancers carry no tokens, and it says nothing but whether this process serves.
    rule("/grpc.health.v1.Health/Check", Open, Either),
    rule("/grpc.health.v1.Health/Watch", Open, Either),
    // Whoever may not call may not browse either.
    rule("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Read, Either),
];

/// What the method at `path` needs.
pub(super) fn of(path: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.path == path)
}

impl Rule {
    /// Whether the method touches every app, and so takes as long as it takes.
    pub(super) fn is_long(&self) -> bool {
        self.path.starts_with("/fanfare.control.v1.RegistryService/")
    }

    /// Why `caller` may not call the method at all. Whether it may ask about the app that it asks about is seen later.
    pub(super) fn refuses(&self, caller: &Caller) -> Option<&'static str> {
        let is_node = caller.grant == Grant::Node;
        match self.level {
            Open => None,
            Node if is_node => None,
            Node => Some("not a node"),
            Read | Write if is_node => Some("for a node only"),
            Write if !caller.may_change() => Some("a reader and may not change anything"),
            Read | Write if self.of == Cluster && caller.only().is_some() => Some("not for the whole cluster"),
            Read | Write => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Every method of every service that is served is in the table, once, and nothing else is.
    #[test]
    fn every_method_has_a_rule() {
        let mut methods = BTreeSet::new();
        for set in [
            proto::control::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ] {
            let pool = proto::json::prost_reflect::DescriptorPool::decode(set).unwrap();
            for service in pool.services() {
                let method = |method: &str| format!("/{}/{method}", service.full_name());
                methods.extend(service.methods().map(|of| method(of.name())));
            }
        }
        let ruled: BTreeSet<String> = RULES.iter().map(|rule| rule.path.to_owned()).collect();
        assert_eq!(ruled, methods);
        assert_eq!(ruled.len(), RULES.len(), "each once");
    }

    #[test]
    fn what_only_reads_is_called_so() {
        let reads = ["Get", "List", "Query", "Watch", "Read", "Tail", "Check", "ServerReflection"];
        for rule in &RULES {
            let name = rule.path.rsplit('/').next().unwrap();
            let reading = reads.iter().any(|word| name.starts_with(word));
            assert_eq!(matches!(rule.level, Read | Open), reading, "{}", rule.path);
        }
    }
}
