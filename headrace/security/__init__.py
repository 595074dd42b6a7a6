"""Who may use Kafka and Redis, and the certificates of a platform of our own.

- `grants`       what each role reads and writes, in terms of the topic catalogue;
- `acls`         the grants as Kafka's access control lists;
- `certificates` an authority for one machine, and what it signs;
- `secured`      the embedded platform with all of it.
"""
