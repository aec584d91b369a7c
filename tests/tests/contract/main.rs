//! One contract for two servers: what the key centre in memory (`kms_client::testing`) does, the real server does, and refuses for the
//! same reason. Each behaviour is a function that runs against both.

// Where a test's setting up fails, the test has failed: a panic with a line number is its message.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod fields;
mod keys;
mod leases;
mod purposes;
mod refusals;
mod same;
mod site;

/// Each behaviour, once in memory and once against a real server.
macro_rules! contract {
    ($($module:ident: $($behaviour:ident)+;)+) => {
        mod in_memory {
            $($(
                #[tokio::test]
                async fn $behaviour() {
                    super::$module::$behaviour(super::site::Site::in_memory()).await;
                }
            )+)+
        }

        mod real {
            $($(
                #[tokio::test]
                async fn $behaviour() {
                    super::$module::$behaviour(super::site::Site::real().await).await;
                }
            )+)+
        }
    };
}

contract! {
    fields:
        a_value_opens_where_it_was_sealed_and_nowhere_else
        what_is_no_ciphertext_or_was_cut_is_told_from_what_was_changed
        rows_are_sealed_listed_and_found_with_one_call_when_cold_and_none_when_warm
        each_person_has_a_key_and_one_can_be_erased
        masked_forms_are_revealed_of_declared_columns_and_to_those_with_rights
        a_key_of_class_l4_leaves_no_data_keys_and_seals_each_value_itself
        a_column_lies_under_a_key_of_the_class_that_it_declares_and_under_no_other
        envelope_keys_open_with_their_context_and_values_are_sealed_again_unseen;
    keys:
        a_rotated_key_opens_what_it_sealed_and_seals_under_the_next_version
        a_suspended_key_or_tenant_neither_seals_nor_opens_until_resumed
        what_is_destroyed_never_opens_again_and_says_what_it_was
        a_version_that_clients_seal_under_is_not_destroyed_unless_forced
        a_version_that_clients_said_to_use_is_not_destroyed_unless_forced
        a_name_of_something_destroyed_can_be_used_again_for_something_else
        a_change_happens_once_and_two_operators_collide_visibly;
    leases:
        keys_at_hand_work_without_the_key_centre_until_their_lease_ends
        clients_are_told_and_purge_what_is_destroyed_or_suspended
        a_rotation_reaches_clients_that_seal
        a_familys_rotation_moves_deterministic_columns_where_it_says_so
        a_new_version_of_an_index_key_takes_rows_once_every_lease_without_it_has_ended;
    purposes:
        a_key_for_one_purpose_seals_opens_searches_and_reveals_for_that_alone
        what_the_server_seals_itself_is_for_the_purpose_that_is_bound_or_stated
        who_may_something_for_one_purpose_may_nothing_for_another;
    refusals:
        messages_that_say_what_they_may_not_are_refused
        names_that_lead_nowhere_and_names_of_others_have_one_face
        who_has_no_rights_is_denied
        leases_are_refused_item_by_item;
}
