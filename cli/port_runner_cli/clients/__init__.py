"""The clients that commands share: AWS, the deployed function, Kafka and Port."""
