//! Rules for channels, one at a time.

use channels::{AppId, Namespace, Namespaces};

use super::{RegisteredApp, Registry, RegistryError};

impl Registry {
    /// Sets the rule for a prefix, instead of what there was for it; with a `revision`, only if that is the app's current
    /// one.
    pub async fn set_namespace(
        &self,
        id: &AppId,
        revision: Option<u64>,
        rule: Namespace,
    ) -> Result<RegisteredApp, RegistryError> {
        let set = |app: &mut RegisteredApp| {
            let others = app.app.namespaces.iter().filter(|other| other.prefix != rule.prefix);
            app.app.namespaces = Namespaces::new(others.chain([&rule]).cloned().collect())?;
            Ok(())
        };
        self.modify(id, revision, set).await
    }

    /// Removes the rule for a prefix; with a `revision`, only if that is the app's current one.
    pub async fn delete_namespace(
        &self,
        id: &AppId,
        revision: Option<u64>,
        prefix: &str,
    ) -> Result<RegisteredApp, RegistryError> {
        let delete = |app: &mut RegisteredApp| {
            let rules = &app.app.namespaces;
            if rules.iter().all(|rule| rule.prefix != prefix) {
                return Err(RegistryError::NoSuchNamespace { app: id.clone(), prefix: prefix.to_owned() });
            }
            app.app.namespaces = Namespaces::new(rules.iter().filter(|rule| rule.prefix != prefix).cloned().collect())?;
            Ok(())
        };
        self.modify(id, revision, delete).await
    }
}
