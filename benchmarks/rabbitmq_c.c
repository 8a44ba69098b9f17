/*
 * One measurement of rabbitmq-c, through its ordinary public API.
 *
 * Owns what the C client does in each scenario; knows nothing of the other clients. Compiled and started by
 * benchmarks/peers.py, which passes the URI in TXPIKA_BENCH_URI. Prints one JSON object with the same keys as
 * benchmarks/measure.py.
 *
 * usage: rabbitmq_c SCENARIO QUEUE MESSAGES WARMUP SIZE PREFETCH WINDOW
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const int CHANNEL = 1;
static const int FRAME_MAX = 131072; /* bytes, RabbitMQ's own default */
static const int HEARTBEAT = 60;     /* seconds, what RabbitMQ offers and the other clients accept */

static amqp_connection_state_t connection;
static amqp_bytes_t queue;

static double cpu_at_start, wall_at_start;
static long resident_at_start; /* bytes */

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static void check(int status, const char *doing) {
  if (status < 0) fail("%s: %s", doing, amqp_error_string2(status));
}

static void check_reply(amqp_rpc_reply_t reply, const char *doing) {
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION) fail("%s: %s", doing, amqp_error_string2(reply.library_error));
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) fail("%s: the broker closed the channel or the connection", doing);
}

/* CPU of this process so far, user and system, in seconds. */
static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

/* A line of /proc/self/status that counts in kB, as bytes; 0 where there is none. */
static long status_bytes(const char *key) {
  char line[256];
  long kilobytes = 0;
  FILE *status = fopen("/proc/self/status", "r");
  if (status == NULL) return 0;
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) kilobytes = atol(line + strlen(key) + 1);
  }
  fclose(status);
  return kilobytes * 1024;
}

/* Make the kernel forget the highest resident size seen so far (proc(5), clear_refs). */
static void forget_peak(void) {
  int file = open("/proc/self/clear_refs", O_WRONLY);
  if (file < 0) return;
  if (write(file, "5", 1) != 1) fail("cannot reset the peak resident size");
  close(file);
}

static void start_meter(void) {
  forget_peak();
  resident_at_start = status_bytes("VmRSS");
  wall_at_start = wall_seconds();
  cpu_at_start = cpu_seconds();
}

static void stop_meter(long messages) {
  double cpu = cpu_seconds() - cpu_at_start;
  double wall = wall_seconds() - wall_at_start;
  long grown = status_bytes("VmHWM") - resident_at_start;
  printf("{\"messages\": %ld, \"cpu\": %.6f, \"wall\": %.6f, \"grown\": %ld, \"version\": \"%s\"}\n",
         messages, cpu, wall, grown, amqp_version());
}

static void connect_to_broker(void) {
  struct amqp_connection_info info;
  const char *given = getenv("TXPIKA_BENCH_URI");
  char *uri = strdup(given != NULL ? given : "amqp://guest:guest@127.0.0.1:5672/%2F");
  amqp_default_connection_info(&info);
  check(amqp_parse_url(uri, &info), "reading the URI");
  connection = amqp_new_connection();
  check(amqp_socket_open(amqp_tcp_socket_new(connection), info.host, info.port), "connecting");
  check_reply(amqp_login(connection, info.vhost, AMQP_DEFAULT_MAX_CHANNELS, FRAME_MAX, HEARTBEAT, AMQP_SASL_METHOD_PLAIN,
                         info.user, info.password),
              "logging in");
  amqp_channel_open(connection, CHANNEL);
  check_reply(amqp_get_rpc_reply(connection), "opening the channel");
}

/* One passive declare round trip: when it is answered, the broker has taken all this channel sent before. */
static void ask(void) {
  amqp_queue_declare(connection, CHANNEL, queue, 1, 0, 0, 0, amqp_empty_table);
  check_reply(amqp_get_rpc_reply(connection), "declaring passively");
  amqp_maybe_release_buffers(connection);
}

static void publish_one(amqp_bytes_t body) {
  amqp_basic_properties_t properties;
  properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
  properties.delivery_mode = 1;
  check(amqp_basic_publish(connection, CHANNEL, amqp_empty_bytes, queue, 0, 0, &properties, body), "publishing");
}

static void publish(long messages, amqp_bytes_t body) {
  for (long i = 0; i < messages; i++) publish_one(body);
  ask();
}

/* What became of the publishes in confirm mode; delivery tags count from 1. */
static unsigned char *confirmed;
static long lowest_unconfirmed = 1, published = 0, outstanding = 0;

static void select_confirms(long publishes) {
  confirmed = calloc(publishes + 1, 1);
  amqp_confirm_select(connection, CHANNEL);
  check_reply(amqp_get_rpc_reply(connection), "selecting confirms");
}

/* Take one frame from the broker, and note the publishes it confirms. */
static void wait_for_confirm(void) {
  amqp_frame_t frame;
  amqp_basic_ack_t *ack;
  check(amqp_simple_wait_frame(connection, &frame), "waiting for a confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) fail("not a basic.ack");
  ack = frame.payload.method.decoded;
  if (ack->multiple) {
    for (; lowest_unconfirmed <= (long)ack->delivery_tag; lowest_unconfirmed++) outstanding -= !confirmed[lowest_unconfirmed];
  } else {
    confirmed[ack->delivery_tag] = 1;
    outstanding--;
  }
  amqp_maybe_release_buffers(connection);
}

static void publish_confirmed(long messages, amqp_bytes_t body, long window) {
  long last = published + messages;
  while (published < last || outstanding > 0) {
    for (; outstanding < window && published < last; published++, outstanding++) publish_one(body);
    wait_for_confirm();
  }
  ask();
}

static void consume_one(int no_ack, size_t size) {
  amqp_envelope_t envelope;
  amqp_maybe_release_buffers(connection);
  check_reply(amqp_consume_message(connection, &envelope, NULL, 0), "consuming");
  if (envelope.message.body.len != size) fail("a body of %zu bytes", envelope.message.body.len);
  if (!no_ack) check(amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 0), "acknowledging");
  amqp_destroy_envelope(&envelope);
}

static void consume(long messages, long warmup, int no_ack, int prefetch, size_t size) {
  if (!no_ack) {
    amqp_basic_qos(connection, CHANNEL, 0, prefetch, 0);
    check_reply(amqp_get_rpc_reply(connection), "setting the prefetch");
  }
  if (warmup == 0) start_meter();
  amqp_basic_consume(connection, CHANNEL, queue, amqp_empty_bytes, 0, no_ack, 0, amqp_empty_table);
  check_reply(amqp_get_rpc_reply(connection), "starting the consumer");
  for (long i = 1; i <= messages + warmup; i++) {
    consume_one(no_ack, size);
    if (i == warmup) start_meter();
  }
  ask();
}

static void declare_passively(long messages) {
  for (long i = 0; i < messages; i++) ask();
}

int main(int count, char **arguments) {
  if (count != 8) fail("usage: %s SCENARIO QUEUE MESSAGES WARMUP SIZE PREFETCH WINDOW", arguments[0]);
  const char *scenario = arguments[1];
  long messages = atol(arguments[3]), warmup = atol(arguments[4]);
  amqp_bytes_t body;
  queue = amqp_cstring_bytes(arguments[2]);
  body.len = atol(arguments[5]);
  body.bytes = malloc(body.len + 1);
  memset(body.bytes, 'x', body.len);
  connect_to_broker();
  if (strcmp(scenario, "publish") == 0) {
    publish(warmup, body);
    start_meter();
    publish(messages, body);
  } else if (strcmp(scenario, "confirmed") == 0) {
    select_confirms(warmup + messages);
    publish_confirmed(warmup, body, atol(arguments[7]));
    start_meter();
    publish_confirmed(messages, body, atol(arguments[7]));
  } else if (strcmp(scenario, "consume") == 0) {
    consume(messages, warmup, 0, atoi(arguments[6]), body.len);
  } else if (strcmp(scenario, "auto-ack") == 0) {
    consume(messages, warmup, 1, 0, body.len);
  } else if (strcmp(scenario, "declare") == 0) {
    declare_passively(warmup);
    start_meter();
    declare_passively(messages);
  } else {
    fail("no such scenario: %s", scenario);
  }
  stop_meter(messages);
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
  free(body.bytes);
  return 0;
}
