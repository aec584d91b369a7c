//! The schema and the example policies of `policies/`, as they were when this was built: `dev` lays them out, tests read them.

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../policies/", $name)))),*]
    };
}

/// File name of the schema in a policy directory.
pub const SCHEMA_FILE: &str = "schema.cedarschema";

/// The schema of this release.
pub const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");

/// File name and text of everything a policy directory needs for the five identities of `dev`.
pub const EXAMPLES: &[(&str, &str)] = shipped![
    "schema.cedarschema",
    "README.md",
    "attendance.cedar",
    "compliance.cedar",
    "hr-portal.cedar",
    "masks.toml",
    "never.cedar",
    "operator.cedar",
    "reflection.cedar",
    "tenant-wall.cedar",
];
