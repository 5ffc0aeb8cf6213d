terraform {
  # 1.11 is the first version with write-only arguments, which keep the secrets out of state and plan.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Exactly the version that the tests apply. Without a lock file, an apply could otherwise use another version than the
      # plan.
      version = "5.100.0"
    }
  }

  # `terraform init -backend-config=…` gives the bucket and the key: each environment has its own state.
  backend "s3" {
    use_lockfile = true
    encrypt      = true
  }
}
