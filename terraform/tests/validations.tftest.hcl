# Each run breaks one rule of each variable that it expects to fail. The rules need no provider. So the runs use only
# the variables, through the link in tests/variables, which takes a tenth of the time.
variables {
  port_org_id       = "org_sYG4DOJZNGy8bYnt"
  kafka_credentials = { username = "kafka-user", password = "kafka-password" }
  port_credentials  = { client_id = "port-id", client_secret = "port-secret" }
  function_package  = "main.tf"
  layer_package     = "main.tf"
}

run "numbers_below_their_range" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    batch_size                         = 0
    maximum_batching_window_in_seconds = -1
    memory_size                        = 127
    timeout                            = 9
    reserved_concurrent_executions     = 0
    port_credentials_version           = 0
    kafka_credentials_version          = 0
    secrets_recovery_window_in_days    = 6
    cloudwatch_logs_retention_in_days  = -1
    alarm_offset_lag                   = -1
    max_concurrency                    = 0
    give_up_age_in_seconds             = -1
  }

  expect_failures = [var.max_concurrency, var.give_up_age_in_seconds, var.batch_size, var.maximum_batching_window_in_seconds, var.memory_size, var.timeout, var.reserved_concurrent_executions, var.port_credentials_version, var.kafka_credentials_version, var.secrets_recovery_window_in_days, var.cloudwatch_logs_retention_in_days, var.alarm_offset_lag]
}

run "numbers_above_their_range" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    batch_size                         = 10001
    maximum_batching_window_in_seconds = 301
    memory_size                        = 10241
    timeout                            = 841
    secrets_recovery_window_in_days    = 31
    reserved_concurrent_executions     = -2
    max_concurrency                    = 101
  }

  expect_failures = [var.max_concurrency, var.batch_size, var.maximum_batching_window_in_seconds, var.memory_size, var.timeout, var.secrets_recovery_window_in_days, var.reserved_concurrent_executions]
}

run "numbers_that_are_not_whole" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    batch_size                         = 1.5
    maximum_batching_window_in_seconds = 0.5
    memory_size                        = 128.5
    timeout                            = 60.5
    port_credentials_version           = 1.5
    kafka_credentials_version          = 1.5
    cloudwatch_logs_retention_in_days  = 31
    max_concurrency                    = 1.5
  }

  expect_failures = [var.max_concurrency, var.batch_size, var.maximum_batching_window_in_seconds, var.memory_size, var.timeout, var.port_credentials_version, var.kafka_credentials_version, var.cloudwatch_logs_retention_in_days]
}

run "words_that_are_not_among_the_choices" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    port_region          = "apac"
    kafka_sasl_mechanism = "OAUTHBEARER_AUTH"
    starting_position    = "EARLIEST"
    architecture         = "amd64"
    log_level            = "WARN"
    unknown_actions      = "retry"
    verify_signature     = "on"
    runtime              = "python3.12"
  }

  expect_failures = [var.verify_signature, var.port_region, var.kafka_sasl_mechanism, var.starting_position, var.architecture, var.log_level, var.unknown_actions, var.runtime]
}

run "texts_of_the_wrong_form" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    port_org_id          = "acme"
    port_api_url         = "http://api.port.io"
    kafka_topic          = "org_sYG4DOJZNGy8bYnt.runs,org_sYG4DOJZNGy8bYnt.change.log"
    kafka_ca_certificate = "ca.pem"
    name                 = "port runner"
    handler              = "lambda_function"
    role_path            = "platform"
    policy_json          = "{}"
    filter_actions       = ["Create VM"]
    alarm_topic_arns     = ["platform-alarms"]
  }

  expect_failures = [var.port_org_id, var.port_api_url, var.kafka_topic, var.kafka_ca_certificate, var.name, var.handler, var.role_path, var.policy_json, var.filter_actions, var.alarm_topic_arns]
}

run "http_to_another_machine" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    port_api_url = "http://127.0.0.1.example.com"
  }

  expect_failures = [var.port_api_url]
}

run "http_to_a_name_like_localhost" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    port_api_url = "http://notlocalhost:8080"
  }

  expect_failures = [var.port_api_url]
}

run "http_to_this_machine" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    port_api_url = "http://127.255.255.254:8080/v1"
  }
}

run "texts_that_are_too_long" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_topic             = join("", [for n in range(250) : "t"])
    name                    = join("", [for n in range(65) : "n"])
    handler                 = "lambda_function.${join("", [for n in range(120) : "h"])}"
    kafka_consumer_group_id = "org_sYG4DOJZNGy8bYnt.${join("", [for n in range(200) : "g"])}"
    filter_actions          = [for n in range(400) : "action_${n}"]
  }

  expect_failures = [var.kafka_topic, var.name, var.handler, var.kafka_consumer_group_id, var.filter_actions]
}

run "arns_of_the_wrong_form" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kms_key_arn               = "arn:aws:kms:eu-west-1:123456789012:alias/runner"
    role_permissions_boundary = "boundary"
    failure_destination_arn   = "arn:aws:lambda:eu-west-1:123456789012:function:x"

    client_side_private_key_secret_arn = "private-key"
  }

  expect_failures = [var.client_side_private_key_secret_arn, var.kms_key_arn, var.role_permissions_boundary, var.failure_destination_arn]
}

run "topic_that_begins_with_a_dot" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    environment_variables   = { PORT_ENCRYPTION_SECRET = "port-secret" }
    kafka_topic             = ".runs"
    port_api_url            = "api.port.io"
    failure_destination_arn = "arn:aws:sqs:eu-west-1:123456789012:failures.fifo"
    name                    = "-runner"
    runtime                 = "nodejs22.x"
  }

  expect_failures = [var.environment_variables, var.kafka_topic, var.port_api_url, var.failure_destination_arn, var.name, var.runtime]
}

run "no_brokers" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_bootstrap_servers = []
  }

  expect_failures = [var.kafka_bootstrap_servers]
}

run "more_brokers_than_lambda_takes" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_bootstrap_servers = [for n in range(11) : "b-${n}.example.com:9196"]
  }

  expect_failures = [var.kafka_bootstrap_servers]
}

run "broker_without_a_port" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_bootstrap_servers = ["b-1.example.com:9196", "b-2.example.com"]
    environment_variables   = { LOG_LEVEL = "DEBUG" }
  }

  expect_failures = [var.kafka_bootstrap_servers, var.environment_variables]
}

run "broker_with_a_protocol" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_bootstrap_servers = ["https://b-1.example.com:9196"]
    environment_variables   = { PORT_CLIENT_SECRET = "port-secret" }
  }

  expect_failures = [var.kafka_bootstrap_servers, var.environment_variables]
}

run "broker_with_a_port_that_cannot_be" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_bootstrap_servers = ["b-1.example.com:65536"]
    environment_variables   = { AWS_REGION = "eu-west-1" }
  }

  expect_failures = [var.kafka_bootstrap_servers, var.environment_variables]
}

run "several_brokers_in_one_text" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_bootstrap_servers = ["b-1.example.com:9196,b-2.example.com:9196"]
    environment_variables   = { "MY-SETTING" = "x" }
  }

  expect_failures = [var.kafka_bootstrap_servers, var.environment_variables]
}

run "consumer_group_of_another_organization" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_consumer_group_id = "org_other.runner"
  }

  expect_failures = [var.kafka_consumer_group_id]
}

run "consumer_group_with_forbidden_characters" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_consumer_group_id = "org_sYG4DOJZNGy8bYnt.runner!"
  }

  expect_failures = [var.kafka_consumer_group_id]
}

run "neither_credentials_nor_secrets" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_credentials = null
    port_credentials  = null
  }

  expect_failures = [var.kafka_credentials, var.port_credentials]
}

run "both_credentials_and_secrets" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_credentials_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mine-abcdef"
    port_credentials_secret_arn  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mine-abcdef"
  }

  expect_failures = [var.kafka_credentials, var.port_credentials]
}

run "empty_credentials" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_credentials = { username = "kafka-user", password = " " }
    port_credentials  = { client_id = "", client_secret = "port-secret" }
  }

  expect_failures = [var.kafka_credentials, var.port_credentials]
}

run "secrets_by_name" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_credentials            = null
    port_credentials             = null
    kafka_credentials_secret_arn = "kafka"
    port_credentials_secret_arn  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mine"
  }

  expect_failures = [var.kafka_credentials_secret_arn, var.port_credentials_secret_arn]
}

run "secret_with_a_name_too_long_for_a_mapping" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    kafka_credentials            = null
    kafka_credentials_secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:${join("", [for n in range(150) : "s"])}-abcdef"
  }

  expect_failures = [var.kafka_credentials_secret_arn]
}

run "what_needs_pollers_without_them" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    maximum_retry_attempts         = 3
    maximum_record_age_in_seconds  = 3600
    bisect_batch_on_function_error = true
    report_batch_item_failures     = true
  }

  expect_failures = [var.maximum_retry_attempts, var.maximum_record_age_in_seconds, var.bisect_batch_on_function_error, var.report_batch_item_failures]
}

run "limits_below_their_range" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers           = { minimum = 1, maximum = 1 }
    maximum_retry_attempts        = -1
    maximum_record_age_in_seconds = 59
  }

  expect_failures = [var.maximum_retry_attempts, var.maximum_record_age_in_seconds]
}

run "limits_above_their_range" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers           = { minimum = 1, maximum = 1 }
    maximum_retry_attempts        = 10001
    maximum_record_age_in_seconds = 604801
  }

  expect_failures = [var.maximum_retry_attempts, var.maximum_record_age_in_seconds]
}

run "limits_that_are_not_whole" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers           = { minimum = 1, maximum = 1 }
    maximum_retry_attempts        = 0.5
    maximum_record_age_in_seconds = 60.5
  }

  expect_failures = [var.maximum_retry_attempts, var.maximum_record_age_in_seconds]
}

run "no_poller" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers = { minimum = 0, maximum = 1 }
  }

  expect_failures = [var.provisioned_pollers]
}

run "too_many_pollers_at_least" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers = { minimum = 201, maximum = 201 }
  }

  expect_failures = [var.provisioned_pollers]
}

run "too_many_pollers_at_most" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers = { minimum = 1, maximum = 2001 }
  }

  expect_failures = [var.provisioned_pollers]
}

run "fewer_pollers_at_most_than_at_least" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    provisioned_pollers = { minimum = 2, maximum = 1 }
  }

  expect_failures = [var.provisioned_pollers]
}

run "change_log_without_mappings" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    create_event_source_mapping            = false
    create_change_log_event_source_mapping = true
  }

  expect_failures = [var.create_change_log_event_source_mapping]
}

run "no_room_for_the_change_logs_group" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    create_change_log_event_source_mapping = true
    kafka_consumer_group_id                = "org_sYG4DOJZNGy8bYnt.${join("", [for n in range(169) : "g"])}"
  }

  expect_failures = [var.create_change_log_event_source_mapping]
}

run "margin_of_more_than_half_the_timeout" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    timeout                    = 10
    deadline_margin_in_seconds = 5.1
  }

  expect_failures = [var.deadline_margin_in_seconds]
}

run "margin_in_two_places" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    deadline_margin_in_seconds = 2
    environment_variables      = { DEADLINE_MARGIN_SECONDS = "2" }
  }

  expect_failures = [var.deadline_margin_in_seconds]
}

run "margin_below_nothing" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    deadline_margin_in_seconds = -0.5
    port_credentials           = { client_id = "port-id", client_secret = "port-secret", encryption_secret = " " }
  }

  expect_failures = [var.deadline_margin_in_seconds, var.port_credentials]
}

run "packages_from_two_places" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    package_s3 = { bucket = "builds", function_key = "function.zip", layer_key = "layer.zip" }
  }

  expect_failures = [var.package_s3]
}

run "subnets_without_security_groups" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    vpc_subnet_ids = ["subnet-1"]
  }

  expect_failures = [var.vpc_subnet_ids]
}

run "security_groups_without_subnets" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    vpc_security_group_ids = ["sg-1"]
  }

  expect_failures = [var.vpc_subnet_ids]
}

run "policies_for_a_role_that_is_not_ours" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    role_arn    = "arn:aws:iam::123456789012:role/mine"
    policy_json = jsonencode({ Version = "2012-10-17", Statement = [] })
    policy_arns = { read = "arn:aws:iam::aws:policy/ReadOnlyAccess" }
  }

  expect_failures = [var.policy_json, var.policy_arns]
}

run "role_by_name" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    role_arn = "mine"
  }

  expect_failures = [var.role_arn]
}

run "values_at_the_lower_edges" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    batch_size                         = 1
    maximum_batching_window_in_seconds = 0
    memory_size                        = 128
    timeout                            = 10
    reserved_concurrent_executions     = 1
    secrets_recovery_window_in_days    = 7
    cloudwatch_logs_retention_in_days  = 0
    alarm_offset_lag                   = 0
    maximum_retry_attempts             = 0
    maximum_record_age_in_seconds      = 60
    provisioned_pollers                = { minimum = 1, maximum = 1 }
    kafka_bootstrap_servers            = ["localhost:1"]
    kafka_consumer_group_id            = "kafka-user"
    port_api_url                       = "http://port.localhost:8080"
    name                               = "r"
    max_concurrency                    = 1
    give_up_age_in_seconds             = 0
    deadline_margin_in_seconds         = 5
  }
}

run "values_at_the_upper_edges" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    batch_size                         = 10000
    maximum_batching_window_in_seconds = 300
    memory_size                        = 10240
    max_concurrency                    = 100
    timeout                            = 840
    secrets_recovery_window_in_days    = 30
    cloudwatch_logs_retention_in_days  = 3653
    maximum_retry_attempts             = 10000
    maximum_record_age_in_seconds      = 604800
    provisioned_pollers                = { minimum = 200, maximum = 2000 }
    kafka_bootstrap_servers            = [for n in range(10) : "b-${n}.example.com:65535"]
    kafka_consumer_group_id            = "org_sYG4DOJZNGy8bYnt.${join("", [for n in range(179) : "g"])}"
    kafka_topic                        = join("", [for n in range(249) : "t"])
    port_api_url                       = "https://api.us.port.io/v1/"
    name                               = join("", [for n in range(64) : "n"])
    runtime                            = "python3.14"
    port_credentials                   = { client_id = "port-id", client_secret = "port-secret", encryption_secret = "another" }
  }
}

run "longest_group_beside_the_change_log" {
  command = plan

  module {
    source = "./tests/variables"
  }

  variables {
    create_change_log_event_source_mapping = true
    kafka_consumer_group_id                = "org_sYG4DOJZNGy8bYnt.${join("", [for n in range(168) : "g"])}"
  }
}
