# Port

variable "port_org_id" {
  description = "Identifier of your Port organization (GET /v1/organization has it). The topic and the consumer group are named after it."
  type        = string

  validation {
    condition     = can(regex("^org_[A-Za-z0-9]+$", var.port_org_id))
    error_message = "port_org_id must be your Port organization's identifier, which looks like \"org_sYG4DOJZNGy8bYnt\"."
  }
}

variable "port_region" {
  description = "Region of your Port organization, \"eu\" or \"us\". It sets the defaults of port_api_url and kafka_bootstrap_servers."
  type        = string
  default     = "eu"

  validation {
    condition     = contains(["eu", "us"], var.port_region)
    error_message = "port_region must be \"eu\" or \"us\". For anything else, set port_api_url and kafka_bootstrap_servers."
  }
}

variable "port_api_url" {
  description = "Address of Port's API, with or without /v1. Null: the one of port_region (eu: https://api.port.io, us: https://api.us.port.io)."
  type        = string
  default     = null

  validation {
    condition = var.port_api_url == null ? true : anytrue([
      can(regex("^https://[^/ ]+", var.port_api_url)),
      can(regex("^http://(([0-9A-Za-z-]+\\.)*localhost|127(\\.[0-9]{1,3}){3}|\\[::1\\])(:[0-9]+)?(/|$)", var.port_api_url)),
    ])
    error_message = "port_api_url must start with https://, because the module's function sends Port's credentials there. Plain http:// is accepted for localhost only."
  }
}

variable "port_credentials" {
  description = "API client that reports the runs to Port (in Port: Credentials). Set encryption_secret if Port encrypts secret inputs with another client's secret. Terraform writes the value to a secret and keeps it out of state and plan. After a change, raise port_credentials_version. Give this or port_credentials_secret_arn."
  type = object({
    client_id         = string
    client_secret     = string
    encryption_secret = optional(string)
  })
  default   = null
  ephemeral = true
  sensitive = true

  validation {
    condition     = (var.port_credentials == null) != (var.port_credentials_secret_arn == null)
    error_message = "Give either port_credentials or port_credentials_secret_arn: exactly one of the two."
  }

  validation {
    condition     = var.port_credentials == null ? true : alltrue([for key, value in var.port_credentials : try(length(trimspace(value)) > 0, key == "encryption_secret")])
    error_message = "port_credentials needs a client_id and a client_secret that are not empty; leave encryption_secret out if it is the client_secret."
  }
}

variable "port_credentials_version" {
  description = "Raise this number when port_credentials changes. Terraform stores no secret, so it cannot see the change itself."
  type        = number
  default     = 1

  validation {
    condition     = var.port_credentials_version >= 1 && floor(var.port_credentials_version) == var.port_credentials_version
    error_message = "port_credentials_version must be a whole number, 1 or more; raise it by 1 to write new credentials."
  }
}

variable "port_credentials_secret_arn" {
  description = "ARN of an existing secret {\"client_id\": \"…\", \"client_secret\": \"…\"} in the function's region, instead of port_credentials. Add \"encryption_secret\" if Port encrypts secret inputs with another secret. Its value must be known at plan time."
  type        = string
  default     = null

  validation {
    condition     = var.port_credentials_secret_arn == null ? true : can(regex("^arn:[^:]+:secretsmanager:[^:]+:[0-9]{12}:secret:.+-[A-Za-z0-9]{6}$", var.port_credentials_secret_arn))
    error_message = "port_credentials_secret_arn must be the complete ARN of a Secrets Manager secret, with the six characters at its end."
  }
}

variable "client_side_private_key_secret_arn" {
  description = "ARN of a secret in the function's region with your RSA private key (PEM, no passphrase), for inputs with client-side encryption. Null: a run with such an input ends as FAILURE. Its value must be known at plan time."
  type        = string
  default     = null

  validation {
    condition     = var.client_side_private_key_secret_arn == null ? true : can(regex("^arn:[^:]+:secretsmanager:[^:]+:[0-9]{12}:secret:.+-[A-Za-z0-9]{6}$", var.client_side_private_key_secret_arn))
    error_message = "client_side_private_key_secret_arn must be the complete ARN of a Secrets Manager secret, with the six characters at its end."
  }
}

# Kafka

variable "kafka_bootstrap_servers" {
  description = "Port's Kafka brokers as host:port. Null: the public brokers of port_region. Adding or removing a broker replaces the mapping; the new one resumes where its consumer group stopped."
  type        = list(string)
  default     = null

  validation {
    condition     = var.kafka_bootstrap_servers == null ? true : length(var.kafka_bootstrap_servers) >= 1 && length(var.kafka_bootstrap_servers) <= 10
    error_message = "kafka_bootstrap_servers must name 1 to 10 brokers: Lambda accepts no more."
  }

  validation {
    condition = var.kafka_bootstrap_servers == null ? true : alltrue([
      for server in var.kafka_bootstrap_servers :
      can(regex("^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?:[1-9][0-9]{0,4}$", server)) && try(tonumber(split(":", server)[1]) <= 65535, false) && length(server) <= 300
    ])
    error_message = "Each of kafka_bootstrap_servers must be host:port, such as \"b-1.example.com:9196\", without protocol or spaces."
  }
}

variable "kafka_topic" {
  description = "Topic of the runs. Null: <port_org_id>.runs, as Port names it. A change replaces the mapping."
  type        = string
  default     = null

  validation {
    condition     = var.kafka_topic == null ? true : can(regex("^[^.][A-Za-z0-9._-]{1,248}$", var.kafka_topic))
    error_message = "kafka_topic must be one topic of 2 to 249 letters, digits, dots, dashes and underscores that does not begin with a dot. Lambda reads one topic in a mapping."
  }
}

variable "kafka_consumer_group_id" {
  description = "Consumer group. Null: <port_org_id>.<name>. Port allows <port_org_id>.<anything> or the Kafka user's name. Give each runner its own group: two consumers in one group each see only a part of the runs. A change replaces the mapping, and the new group starts at starting_position."
  type        = string
  default     = null

  validation {
    condition     = var.kafka_consumer_group_id == null ? true : can(regex("^[A-Za-z0-9*:_+=.@/ -]{1,200}$", var.kafka_consumer_group_id))
    error_message = "kafka_consumer_group_id must have 1 to 200 letters, digits, spaces and - / * : _ + = . @."
  }

  validation {
    condition = anytrue([
      var.kafka_consumer_group_id == null,
      try(startswith(var.kafka_consumer_group_id, "${var.port_org_id}."), false),
      try(var.kafka_consumer_group_id == var.kafka_credentials.username, false),
    ])
    error_message = "kafka_consumer_group_id must begin with your organization's identifier and a dot (\"org_….my-runner\"), or be the username in kafka_credentials: Port allows its users no other group."
  }
}

variable "kafka_credentials" {
  description = "Kafka user that Port gave your organization. Terraform writes it to a secret and keeps it out of state and plan. After a change, raise kafka_credentials_version. Give this or kafka_credentials_secret_arn."
  type = object({
    username = string
    password = string
  })
  default   = null
  ephemeral = true
  sensitive = true

  validation {
    condition     = (var.kafka_credentials == null) != (var.kafka_credentials_secret_arn == null)
    error_message = "Give either kafka_credentials or kafka_credentials_secret_arn: exactly one of the two."
  }

  validation {
    condition     = var.kafka_credentials == null ? true : alltrue([for value in values(var.kafka_credentials) : try(length(trimspace(value)) > 0, false)])
    error_message = "kafka_credentials needs a username and a password that are not empty."
  }
}

variable "kafka_credentials_version" {
  description = "Raise this number when kafka_credentials changes. Terraform stores no secret, so it cannot see the change itself."
  type        = number
  default     = 1

  validation {
    condition     = var.kafka_credentials_version >= 1 && floor(var.kafka_credentials_version) == var.kafka_credentials_version
    error_message = "kafka_credentials_version must be a whole number, 1 or more; raise it by 1 to write new credentials."
  }
}

variable "kafka_credentials_secret_arn" {
  description = "ARN of an existing secret {\"username\": \"…\", \"password\": \"…\"} in the function's region, instead of kafka_credentials. Its value must be known at plan time."
  type        = string
  default     = null

  validation {
    condition     = var.kafka_credentials_secret_arn == null ? true : can(regex("^arn:[^:]+:secretsmanager:[^:]+:[0-9]{12}:secret:.+-[A-Za-z0-9]{6}$", var.kafka_credentials_secret_arn))
    error_message = "kafka_credentials_secret_arn must be the complete ARN of a Secrets Manager secret, with the six characters at its end."
  }

  validation {
    condition     = var.kafka_credentials_secret_arn == null ? true : can(regex("^[A-Za-z0-9*:_+=.@/ -]{1,200}$", var.kafka_credentials_secret_arn))
    error_message = "kafka_credentials_secret_arn must have at most 200 characters: a mapping accepts no longer ARN. Give the secret a shorter name."
  }
}

variable "kafka_sasl_mechanism" {
  description = "How Lambda logs in to Kafka: SASL_SCRAM_512_AUTH (Port's), SASL_SCRAM_256_AUTH or BASIC_AUTH (SASL/PLAIN). Always over TLS."
  type        = string
  default     = "SASL_SCRAM_512_AUTH"

  validation {
    condition     = contains(["SASL_SCRAM_512_AUTH", "SASL_SCRAM_256_AUTH", "BASIC_AUTH"], var.kafka_sasl_mechanism)
    error_message = "kafka_sasl_mechanism must be SASL_SCRAM_512_AUTH (what Port uses), SASL_SCRAM_256_AUTH or BASIC_AUTH."
  }
}

variable "kafka_ca_certificate" {
  description = "PEM certificate of the private authority that signed the brokers' certificates. Null for Port's brokers, whose certificates are publicly trusted. Its value must be known at plan time."
  type        = string
  default     = null

  validation {
    condition     = var.kafka_ca_certificate == null ? true : can(regex("^\\s*-----BEGIN CERTIFICATE-----[\\s\\S]+-----END CERTIFICATE-----\\s*$", var.kafka_ca_certificate))
    error_message = "kafka_ca_certificate must be the certificate's PEM text itself, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----; read it from a file with file(\"ca.pem\")."
  }
}

# Event source mapping

variable "create_event_source_mapping" {
  description = "Create the event source mappings. False creates only the function, so that you can first invoke it by hand."
  type        = bool
  default     = true
}

variable "create_change_log_event_source_mapping" {
  description = "Create a second mapping, so that the function also receives <port_org_id>.change.log. Its consumer group is <kafka_consumer_group_id>.change-log, or <port_org_id>.<name>.change-log if kafka_consumer_group_id is the Kafka user's name."
  type        = bool
  default     = false

  validation {
    condition     = !var.create_change_log_event_source_mapping || var.create_event_source_mapping
    error_message = "create_change_log_event_source_mapping needs create_event_source_mapping, which is false. Set both or neither."
  }

  validation {
    condition     = !var.create_change_log_event_source_mapping || try(length(var.kafka_consumer_group_id), 0) <= 189
    error_message = "create_change_log_event_source_mapping adds .change-log to kafka_consumer_group_id, and the result may have 200 characters. Give kafka_consumer_group_id at most 189."
  }
}

variable "event_source_mapping_enabled" {
  description = "False pauses reading. New runs wait in Kafka until this is true again."
  type        = bool
  default     = true
}

variable "starting_position" {
  description = "Where a new consumer group starts to read: LATEST, or TRIM_HORIZON for every run that the topic still holds. With LATEST, runs executed in the first minutes after the apply can be missed. A change replaces the mapping, and has no effect on a group that has read before."
  type        = string
  default     = "LATEST"

  validation {
    condition     = contains(["LATEST", "TRIM_HORIZON"], var.starting_position)
    error_message = "starting_position must be LATEST (only new records) or TRIM_HORIZON (all records that the topic still holds)."
  }
}

variable "batch_size" {
  description = "Maximum number of records in one invocation. Above 1, a function error makes Lambda redeliver the whole batch."
  type        = number
  default     = 1

  validation {
    condition     = var.batch_size >= 1 && var.batch_size <= 10000 && floor(var.batch_size) == var.batch_size
    error_message = "batch_size must be a whole number from 1 to 10000."
  }
}

variable "maximum_batching_window_in_seconds" {
  description = "Seconds that Lambda gathers records for a batch, 0 to 300. Null: Lambda's default of half a second. Once set, only a new mapping returns to that default."
  type        = number
  default     = null

  validation {
    condition     = var.maximum_batching_window_in_seconds == null ? true : var.maximum_batching_window_in_seconds >= 0 && var.maximum_batching_window_in_seconds <= 300 && floor(var.maximum_batching_window_in_seconds) == var.maximum_batching_window_in_seconds
    error_message = "maximum_batching_window_in_seconds must be a whole number from 0 to 300."
  }
}

variable "filter_actions" {
  description = "Identifiers of the actions that reach the function. Other records cost no invocation and leave no log line. A filter sees only the message: it passes payloads with the action's identifier in action or payload.action.identifier, as `port-runner action-json` writes them, and holds back all other payloads. Empty: every record reaches the function."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for action in var.filter_actions : can(regex("^[^\\s\"/]+$", action))])
    error_message = "filter_actions must hold identifiers of actions, such as \"create_vm\", not their titles."
  }

  validation {
    condition     = length(jsonencode({ value = { payload = { action = { identifier = var.filter_actions } } } })) <= 4096
    error_message = "filter_actions is too long: its names must fit into the 4096 characters of one filter pattern. Leave it empty to receive every record; the function skips records without a handler."
  }
}

variable "provisioned_pollers" {
  description = "Provisioned event pollers: a minimum from 1 to 200 and a maximum up to 2000. The four variables below need them. They are billed by the hour, idle or not: about 133 USD a month for each mapping."
  type = object({
    minimum = number
    maximum = number
  })
  default = null

  validation {
    condition = var.provisioned_pollers == null ? true : alltrue([
      var.provisioned_pollers.minimum >= 1,
      var.provisioned_pollers.minimum <= 200,
      var.provisioned_pollers.maximum >= var.provisioned_pollers.minimum,
      var.provisioned_pollers.maximum <= 2000,
    ])
    error_message = "provisioned_pollers needs a minimum from 1 to 200 and a maximum from that minimum to 2000."
  }
}

variable "maximum_retry_attempts" {
  description = "How often Lambda retries a failing batch, 0 to 10000, before it sends the batch to the failure destination. Null: until the batch succeeds or Kafka no longer holds it."
  type        = number
  default     = null

  validation {
    condition     = var.maximum_retry_attempts == null ? true : var.maximum_retry_attempts >= 0 && var.maximum_retry_attempts <= 10000 && floor(var.maximum_retry_attempts) == var.maximum_retry_attempts
    error_message = "maximum_retry_attempts must be a whole number from 0 to 10000, or null for no limit."
  }

  validation {
    condition     = var.maximum_retry_attempts == null || var.provisioned_pollers != null
    error_message = "maximum_retry_attempts needs provisioned_pollers: without them Lambda retries a Kafka batch until it succeeds. The function itself gives up records that are too old: see give_up_age_in_seconds."
  }
}

variable "maximum_record_age_in_seconds" {
  description = "Age in seconds, 60 to 604800, at which Lambda gives up a record and sends it to the failure destination. Null: no limit."
  type        = number
  default     = null

  validation {
    condition     = var.maximum_record_age_in_seconds == null ? true : var.maximum_record_age_in_seconds >= 60 && var.maximum_record_age_in_seconds <= 604800 && floor(var.maximum_record_age_in_seconds) == var.maximum_record_age_in_seconds
    error_message = "maximum_record_age_in_seconds must be a whole number from 60 to 604800 (seven days), or null for no limit."
  }

  validation {
    condition     = var.maximum_record_age_in_seconds == null || var.provisioned_pollers != null
    error_message = "maximum_record_age_in_seconds needs provisioned_pollers: without them Lambda has no age limit for Kafka records. The function itself gives up records that are too old: see give_up_age_in_seconds."
  }
}

variable "bisect_batch_on_function_error" {
  description = "Let Lambda halve a failing batch to find the record that fails."
  type        = bool
  default     = false

  validation {
    condition     = !var.bisect_batch_on_function_error || var.provisioned_pollers != null
    error_message = "bisect_batch_on_function_error needs provisioned_pollers: Lambda halves Kafka batches only with them."
  }
}

variable "report_batch_item_failures" {
  description = "Let the function report which records failed, instead of failing the whole batch. Null: true if provisioned_pollers is set."
  type        = bool
  default     = null

  validation {
    condition     = var.report_batch_item_failures == null ? true : !var.report_batch_item_failures || var.provisioned_pollers != null
    error_message = "report_batch_item_failures needs provisioned_pollers: without them Lambda does not read the function's response, and the failed records would be lost."
  }
}

# Failures

variable "create_failure_queue" {
  description = "Create the SQS queue for records that could be neither run nor reported. Without the queue, such a record is only an ERROR line in the log."
  type        = bool
  default     = true
}

variable "failure_destination_arn" {
  description = "ARN of the SQS queue, SNS topic or S3 bucket to which Lambda sends the batches that it gives up. With a destination, Lambda gives up after about ten attempts. Null: no destination, or the failure queue if maximum_retry_attempts or maximum_record_age_in_seconds is set."
  type        = string
  default     = null

  validation {
    condition     = var.failure_destination_arn == null ? true : can(regex("^arn:[^:]+:(sqs|sns|s3):[^:]*:[^:]*:[^:]+$", var.failure_destination_arn)) && length(var.failure_destination_arn) <= 350
    error_message = "failure_destination_arn must be the ARN of an SQS queue, an SNS topic or an S3 bucket."
  }

  validation {
    condition     = var.failure_destination_arn == null ? true : !endswith(var.failure_destination_arn, ".fifo")
    error_message = "failure_destination_arn must not be a FIFO queue or topic: Lambda cannot send to them."
  }
}

# Packages

variable "function_package" {
  description = "The function's zip. Null: ../dist/function.zip, seen from this module's folder, where `make package` puts it."
  type        = string
  default     = null
}

variable "layer_package" {
  description = "The layer's zip, built for this runtime and architecture. Null: ../dist/layer-<architecture>.zip, seen from this module's folder, where `make package` puts it."
  type        = string
  default     = null
}

variable "package_s3" {
  description = "Both zips in an S3 bucket of the function's region, instead of local files. Give object versions, or a new key for each build: Terraform cannot see a new zip under an old key."
  type = object({
    bucket                  = string
    function_key            = string
    function_object_version = optional(string)
    layer_key               = string
    layer_object_version    = optional(string)
  })
  default = null

  validation {
    condition     = var.package_s3 == null || (var.function_package == null && var.layer_package == null)
    error_message = "Give either package_s3, or function_package and layer_package: both zips must come from one place."
  }
}

# Function

variable "name" {
  description = "Name of the function. The names of all other resources begin with it. A change replaces every resource and the consumer group."
  type        = string
  default     = "port-execution-lambda"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", var.name))
    error_message = "name must have 1 to 64 letters, digits, dashes and underscores and begin with a letter or digit, because it names a Lambda function and an IAM role."
  }
}

variable "handler" {
  description = "Entry point in the function's zip, as module.function."
  type        = string
  default     = "lambda_function.lambda_handler"

  validation {
    condition     = can(regex("^[A-Za-z_][A-Za-z0-9_/]*(\\.[A-Za-z_][A-Za-z0-9_]*)+$", var.handler)) && length(var.handler) <= 128
    error_message = "handler must be module.function, such as \"lambda_function.lambda_handler\"."
  }
}

variable "runtime" {
  description = "Python runtime, the one that the packages were built for. Runtimes newer than python3.13 need a newer provider."
  type        = string
  default     = "python3.13"

  validation {
    condition     = can(regex("^python3\\.(1[3-9]|[2-9][0-9])$", var.runtime))
    error_message = "runtime must be python3.13 or newer, and the one that `make package` built for."
  }
}

variable "architecture" {
  description = "Processor: x86_64 or arm64. The layer must have been built for it."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "memory_size" {
  description = "Memory in MB, 128 to 10240."
  type        = number
  default     = 256

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240 && floor(var.memory_size) == var.memory_size
    error_message = "memory_size must be a whole number of MB from 128 to 10240."
  }
}

variable "timeout" {
  description = "Seconds that one invocation may take, 10 to 840. A Kafka mapping allows at most 14 minutes. The function keeps the last seconds to report the run."
  type        = number
  default     = 60

  validation {
    condition     = var.timeout >= 10 && var.timeout <= 840 && floor(var.timeout) == var.timeout
    error_message = "timeout must be a whole number of seconds from 10 to 840. A Kafka mapping allows at most 14 minutes, and below 10 seconds no time is left to report a run. For longer work, start it elsewhere and return InProgress."
  }
}

variable "deadline_margin_in_seconds" {
  description = "Seconds at the end of the timeout that the function keeps to report outcomes. Handlers do not get them. Null: 2."
  type        = number
  default     = null

  validation {
    condition     = var.deadline_margin_in_seconds == null ? true : var.deadline_margin_in_seconds >= 0 && var.deadline_margin_in_seconds <= var.timeout / 2
    error_message = "deadline_margin_in_seconds must be 0 or more, and at most half of the timeout, so that the handlers get the other half."
  }

  validation {
    condition     = var.deadline_margin_in_seconds == null || !contains(keys(var.environment_variables), "DEADLINE_MARGIN_SECONDS")
    error_message = "Give either deadline_margin_in_seconds or DEADLINE_MARGIN_SECONDS among environment_variables, which set the same value."
  }
}

variable "reserved_concurrent_executions" {
  description = "Maximum number of invocations at the same time. -1: only the account's limit."
  type        = number
  default     = -1

  validation {
    condition     = var.reserved_concurrent_executions == -1 || var.reserved_concurrent_executions >= 1
    error_message = "reserved_concurrent_executions must be -1 (no limit) or at least 1. To stop the function, set event_source_mapping_enabled = false: with 0 the mapping would retry without end."
  }
}

variable "environment_variables" {
  description = "More environment variables, for your handlers. Do not put secrets here: the console shows these values and the state keeps them. For development only, LOG_MESSAGES = \"true\" logs each message without its secret inputs."
  type        = map(string)
  default     = {}

  validation {
    condition = length(setintersection(keys(var.environment_variables), [
      "CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN", "FAILURE_QUEUE_URL", "LOG_LEVEL", "MAXIMUM_RECORD_AGE_SECONDS", "MAX_CONCURRENCY", "PORT_API_URL",
      "PORT_CREDENTIALS_SECRET_ARN", "REPORT_BATCH_ITEM_FAILURES", "UNKNOWN_ACTIONS", "VERIFY_SIGNATURE",
    ])) == 0
    error_message = "environment_variables must not set CLIENT_SIDE_PRIVATE_KEY_SECRET_ARN, FAILURE_QUEUE_URL, LOG_LEVEL, MAXIMUM_RECORD_AGE_SECONDS, MAX_CONCURRENCY, PORT_API_URL, PORT_CREDENTIALS_SECRET_ARN, REPORT_BATCH_ITEM_FAILURES, UNKNOWN_ACTIONS or VERIFY_SIGNATURE: the module sets them from its own variables."
  }

  validation {
    condition     = length(setintersection(keys(var.environment_variables), ["PORT_CLIENT_ID", "PORT_CLIENT_SECRET", "PORT_ENCRYPTION_SECRET"])) == 0
    error_message = "environment_variables must not hold Port's credentials: give port_credentials, which keeps them in a secret."
  }

  validation {
    condition     = alltrue([for key in keys(var.environment_variables) : can(regex("^[A-Za-z][A-Za-z0-9_]+$", key)) && !can(regex("^(AWS_(ACCESS_KEY|DEFAULT_REGION|EXECUTION_ENV|LAMBDA_|REGION|SECRET_ACCESS_KEY|SESSION_TOKEN)|LAMBDA_(RUNTIME_DIR|TASK_ROOT))", key))])
    error_message = "environment_variables must have names of letters, digits and underscores that begin with a letter, and none that Lambda sets itself (AWS_REGION, AWS_LAMBDA_…, LAMBDA_TASK_ROOT and the like)."
  }
}

variable "unknown_actions" {
  description = "Treatment of a run that has no handler here. \"ignore\" leaves it to the topic's other consumers. \"fail\" ends it as FAILURE, for a runner that is the topic's only consumer."
  type        = string
  default     = "ignore"

  validation {
    condition     = contains(["ignore", "fail"], var.unknown_actions)
    error_message = "unknown_actions must be \"ignore\" or \"fail\"."
  }
}

variable "verify_signature" {
  description = "Check of Port's signature on a message. \"if-present\" checks a signature if the message has one, \"required\" also refuses messages without one, \"off\" checks none. A run with a wrong signature ends as FAILURE, and its handler is not called."
  type        = string
  default     = "if-present"

  validation {
    condition     = contains(["if-present", "required", "off"], var.verify_signature)
    error_message = "verify_signature must be \"if-present\", \"required\" or \"off\"."
  }
}

variable "max_concurrency" {
  description = "Maximum number of runs of one batch that are handled at the same time. Runs of one entity always keep their order."
  type        = number
  default     = 16

  validation {
    condition     = var.max_concurrency >= 1 && var.max_concurrency <= 100 && floor(var.max_concurrency) == var.max_concurrency
    error_message = "max_concurrency must be a whole number from 1 to 100."
  }
}

variable "give_up_age_in_seconds" {
  description = "Age in seconds at which the function gives up a record that has failed for ten minutes. It then sends the record and its run's outcome to the failure queue. This limits the retries of a mapping without provisioned_pollers."
  type        = number
  default     = 21600

  validation {
    condition     = var.give_up_age_in_seconds >= 0
    error_message = "give_up_age_in_seconds must be 0 or more seconds; with 0 no record is redelivered."
  }
}

variable "log_level" {
  description = "Lowest level of the function's log lines: DEBUG, INFO, WARNING, ERROR or CRITICAL."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "log_level must be DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "cloudwatch_logs_retention_in_days" {
  description = "Days that CloudWatch keeps the log. 0: without limit."
  type        = number
  default     = 30

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.cloudwatch_logs_retention_in_days)
    error_message = "cloudwatch_logs_retention_in_days must be 0 (no limit) or a number of days that CloudWatch accepts: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "vpc_subnet_ids" {
  description = "Subnets of the function, if its handlers need a VPC. They need a route to Port's API and to Secrets Manager. The mapping always reads Kafka from outside the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = (length(var.vpc_subnet_ids) == 0) == (length(var.vpc_security_group_ids) == 0)
    error_message = "Give both vpc_subnet_ids and vpc_security_group_ids, or neither: a function in a VPC needs both."
  }
}

variable "vpc_security_group_ids" {
  description = "Security groups of the function. Needed with vpc_subnet_ids."
  type        = list(string)
  default     = []
}

# Alarms

variable "alarm_topic_arns" {
  description = "SNS topics that are notified when an alarm starts and when it ends. Empty: no alarms."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:[^:]+:sns:[^:]+:[0-9]{12}:.+$", arn))])
    error_message = "alarm_topic_arns must hold ARNs of SNS topics."
  }
}

variable "alarm_offset_lag" {
  description = "Number of waiting records above which the offset-lag alarm starts, when they have waited in Kafka for fifteen minutes."
  type        = number
  default     = 10

  validation {
    condition     = var.alarm_offset_lag >= 0
    error_message = "alarm_offset_lag must be 0 or more records."
  }
}

variable "create_dashboard" {
  description = "Create a CloudWatch dashboard of the runs, the function, the lag and the failure queue."
  type        = bool
  default     = false
}

# Permissions and encryption

variable "policy_json" {
  description = "IAM policy document (JSON) that allows what your handlers do in AWS. Its statements join those of the function, so each needs a unique sid."
  type        = string
  default     = null

  validation {
    condition     = var.policy_json == null ? true : can(jsondecode(var.policy_json).Statement)
    error_message = "policy_json must be an IAM policy document in JSON, such as data.aws_iam_policy_document.handlers.json."
  }

  validation {
    condition     = var.policy_json == null || var.role_arn == null
    error_message = "policy_json does not apply to the role of role_arn, which is yours. Add the statements to that role."
  }
}

variable "policy_arns" {
  description = "Managed policies for your handlers, as a map from a name of your choice to an ARN."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.policy_arns) == 0 || var.role_arn == null
    error_message = "policy_arns does not apply to the role of role_arn, which is yours. Attach the policies to that role."
  }
}

variable "role_arn" {
  description = "ARN of an existing execution role. It must trust lambda.amazonaws.com and allow what the output lambda_role_policy_json lists. Null: the module creates a role. Its value must be known at plan time."
  type        = string
  default     = null

  validation {
    condition     = var.role_arn == null ? true : can(regex("^arn:[^:]+:iam::[0-9]{12}:role/.+$", var.role_arn))
    error_message = "role_arn must be the ARN of an IAM role."
  }
}

variable "role_path" {
  description = "IAM path of the role."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([!-~]+/)?$", var.role_path))
    error_message = "role_path must begin and end with a slash, such as \"/platform/\"."
  }
}

variable "role_permissions_boundary" {
  description = "ARN of the role's permissions boundary."
  type        = string
  default     = null

  validation {
    condition     = var.role_permissions_boundary == null ? true : can(regex("^arn:[^:]+:iam::([0-9]{12}|aws):policy/.+$", var.role_permissions_boundary))
    error_message = "role_permissions_boundary must be the ARN of an IAM policy."
  }
}

variable "kms_key_arn" {
  description = "ARN of your KMS key for the secrets, the log group, the failure queue and the function's environment. Its policy must allow CloudWatch Logs of this region to use it. Secrets and a failure destination of yours must be encrypted with the same key. Null: keys that AWS owns."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a KMS key (…:key/…); an alias does not work, because IAM policies need the key."
  }
}

variable "secrets_recovery_window_in_days" {
  description = "Days in which a destroyed secret can be restored, 7 to 30. Its name stays taken for that time. 0: the secret is deleted at once, so that the module can be applied again right away."
  type        = number
  default     = 0

  validation {
    condition     = var.secrets_recovery_window_in_days == 0 || (var.secrets_recovery_window_in_days >= 7 && var.secrets_recovery_window_in_days <= 30)
    error_message = "secrets_recovery_window_in_days must be 0 or from 7 to 30."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
