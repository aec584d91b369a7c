//! The wire of `kms.v1` only grows: `tests/kms_v1.descriptor` lists every field, value and call that was ever served, and one that
//! is gone, renumbered or of another type is refused.
//!
//! After an addition: `KMS_UPDATE_SNAPSHOT=1 cargo test -p kms-tests --test descriptor_snapshot`.

#![expect(clippy::unwrap_used, reason = "where a test's setting up fails, the test has failed")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Set to write additions into the snapshot.
const UPDATE: &str = "KMS_UPDATE_SNAPSHOT";

/// What stands on the wire, by what must stay: `field kms.v1.Key 8` → `revision uint64`.
type Snapshot = BTreeMap<String, String>;

fn snapshot(encoded: &[u8]) -> Snapshot {
    let set = FileDescriptorSet::decode(encoded).unwrap();
    let mut lines = Snapshot::new();
    for file in set.file.iter().filter(|file| file.package() == "kms.v1") {
        let package = file.package();
        file.message_type.iter().for_each(|message| add_message(&mut lines, package, message));
        file.enum_type.iter().for_each(|values| add_enum(&mut lines, package, values));
        file.service.iter().for_each(|service| add_service(&mut lines, package, service));
    }
    lines
}

fn add_message(lines: &mut Snapshot, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        let oneof = match field.oneof_index {
            Some(index) if !field.proto3_optional() => {
                format!(" oneof {}", message.oneof_decl[usize::try_from(index).unwrap()].name())
            }
            _ => String::new(),
        };
        let line = format!("{} {}{oneof}", field.name(), type_of(field));
        lines.insert(format!("field {name} {}", field.number()), line);
    }
    message.nested_type.iter().for_each(|nested| add_message(lines, &name, nested));
    message.enum_type.iter().for_each(|values| add_enum(lines, &name, values));
}

fn add_enum(lines: &mut Snapshot, scope: &str, values: &EnumDescriptorProto) {
    for value in &values.value {
        lines.insert(format!("value {scope}.{} {}", values.name(), value.number()), value.name().into());
    }
}

fn add_service(lines: &mut Snapshot, scope: &str, service: &ServiceDescriptorProto) {
    for method in &service.method {
        let stream = |streams| if streams { "stream " } else { "" };
        let line = format!(
            "{}{} -> {}{}",
            stream(method.client_streaming()),
            method.input_type(),
            stream(method.server_streaming()),
            method.output_type()
        );
        lines.insert(format!("call {scope}.{}.{}", service.name(), method.name()), line);
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let named = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    match field.label() {
        Label::Repeated => format!("repeated {named}"),
        _ if field.proto3_optional() => format!("optional {named}"),
        _ => named,
    }
}

/// What the new descriptors no longer say as the old ones did.
fn broken(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let changed = old.iter().filter(|(what, line)| new.get(*what) != Some(*line));
    changed.map(|(what, line)| format!("{what}: was `{line}`, is {:?}", new.get(what))).collect()
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kms_v1.descriptor")
}

fn committed() -> Snapshot {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(" = ").unwrap()).map(|(what, is)| (what.into(), is.into())).collect()
}

#[test]
fn nothing_that_was_ever_served_is_removed_renumbered_or_of_another_type() {
    let (old, new) = (committed(), snapshot(kms_proto::v1::FILE_DESCRIPTOR_SET));
    let broken = broken(&old, &new);
    assert!(
        broken.is_empty(),
        "callers in the field depend on these; add, never change:\n{}",
        broken.join("\n")
    );
    if old == new {
        return;
    }
    let added: Vec<_> = new.keys().filter(|what| !old.contains_key(*what)).cloned().collect();
    assert!(
        std::env::var_os(UPDATE).is_some(),
        "new on the wire, from now on for ever; commit it with {UPDATE}=1:\n{}",
        added.join("\n")
    );
    let head = "# All that stands on the wire of kms.v1; entries are only added. Written by tests/descriptor_snapshot.rs.\n";
    let lines: String = new.iter().map(|(what, is)| format!("{what} = {is}\n")).collect();
    fs::write(file(), format!("{head}{lines}")).unwrap();
}

#[test]
fn a_removed_a_renumbered_and_a_retyped_field_are_noticed_and_an_added_one_is_not() {
    let old = snapshot(kms_proto::v1::FILE_DESCRIPTOR_SET);
    let with = |change: fn(&mut DescriptorProto)| {
        let mut set = FileDescriptorSet::decode(kms_proto::v1::FILE_DESCRIPTOR_SET).unwrap();
        let messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
        change(messages.into_iter().find(|message| message.name() == "EncryptRequest").unwrap());
        snapshot(&set.encode_to_vec())
    };
    assert_eq!(broken(&old, &with(|message| drop(message.field.pop()))).len(), 1);
    assert_eq!(broken(&old, &with(|message| message.field[0].number = Some(9))).len(), 1);
    assert_eq!(broken(&old, &with(|message| message.field[0].set_type(Type::Bytes))).len(), 1);
    assert_eq!(broken(&old, &with(|message| message.field[0].name = Some("other".into()))).len(), 1);
    let added = with(|message| {
        let mut field = message.field[0].clone();
        (field.name, field.number) = (Some("purpose".into()), Some(99));
        message.field.push(field);
    });
    assert!(broken(&old, &added).is_empty());
}

#[test]
fn every_enum_has_an_unspecified_zero_and_all_life_cycle_states_their_numbers() {
    let lines = snapshot(kms_proto::v1::FILE_DESCRIPTOR_SET);
    let enums: std::collections::BTreeSet<_> = lines
        .keys()
        .filter_map(|what| what.strip_prefix("value ")?.rsplit_once(' '))
        .map(|(name, _)| name)
        .collect();
    for name in enums {
        assert!(lines[&format!("value {name} 0")].ends_with("_UNSPECIFIED"), "{name}");
    }
    for (number, state) in
        ["PRE_ACTIVE", "ACTIVE", "SUSPENDED", "DEACTIVATED", "DESTROY_SCHEDULED", "DESTROYED", "ERASED"]
            .iter()
            .enumerate()
    {
        let value = &lines[&format!("value kms.v1.LifecycleState {}", number + 1)];
        assert_eq!(value, &format!("LIFECYCLE_STATE_{state}"));
    }
}
