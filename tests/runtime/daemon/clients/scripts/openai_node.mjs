// OpenAI's Node SDK. Runs the parts that its arguments name; prints what each of them got.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const LOCAL = "local/smollm2-135m";
const Paint = z.object({ colour: z.enum(["blue", "green"]), shade: z.number().int() });
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Tells the current weather in a city.",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string", description: "the city" },
        unit: { type: "string", enum: ["celsius", "fahrenheit"] },
      },
      required: ["city"],
    },
  },
};

const said = (words) => [{ role: "user", content: words }];
const client = new OpenAI({ maxRetries: 0 });

const parts = {
  async chat() {
    const { data, response } = await client.chat.completions
      .create({ model: LOCAL, messages: said("Say hello."), max_completion_tokens: 8 })
      .withResponse();
    return {
      route: response.headers.get("x-aidecamp-route"),
      decision: response.headers.get("x-aidecamp-decision"),
      answer: data,
    };
  },

  async stream() {
    const ask = { model: LOCAL, messages: said("Count: one, two, three"), max_tokens: 8 };
    const whole = await client.chat.completions.create(ask);
    const chunks = [];
    const stream_options = { include_usage: true };
    for await (const chunk of await client.chat.completions.create({
      ...ask,
      stream: true,
      stream_options,
    }))
      chunks.push(chunk);
    const helper = client.chat.completions.stream({ ...ask, stream_options });
    const helped = await helper.finalContent();
    return {
      whole: whole.choices[0].message.content,
      used: whole.usage.completion_tokens,
      text: chunks.map((c) => c.choices[0]?.delta?.content ?? "").join(""),
      usage: chunks.filter((c) => c.usage).map((c) => c.usage.completion_tokens),
      helped,
      helpedUsage: (await helper.totalUsage()).completion_tokens,
    };
  },

  async tools() {
    const messages = said("What is the weather in Paris in celsius?");
    const first = await client.chat.completions.create({
      model: LOCAL,
      messages,
      tools: [WEATHER],
    });
    const message = first.choices[0].message;
    messages.push(message, {
      role: "tool",
      tool_call_id: message.tool_calls[0].id,
      content: "18 degrees, sunny",
    });
    const second = await client.chat.completions.create({
      model: LOCAL,
      messages,
      tools: [WEATHER],
      max_tokens: 16,
    });
    return { first, second };
  },

  // The SDK's own loop: it calls the function, and asks again with what it returned.
  async runner() {
    const called = [];
    const run = client.chat.completions.runTools({
      model: LOCAL,
      messages: said("What is the weather in Paris in celsius?"),
      tools: [
        {
          type: "function",
          function: {
            ...WEATHER.function,
            parse: JSON.parse,
            function: (given) => {
              called.push(given);
              return "18 degrees, sunny";
            },
          },
        },
      ],
    });
    return { text: await run.finalContent(), called };
  },

  async parallel() {
    const words = said("Tell me the weather in Paris, and then tell me the weather in Rome.");
    const ask = { model: LOCAL, messages: words, tools: [WEATHER] };
    const helper = client.chat.completions.stream(ask);
    return {
      two: await client.chat.completions.create(ask),
      streamed: await helper.finalChatCompletion(),
    };
  },

  async parse() {
    const ask = {
      model: LOCAL,
      messages: said("The sky's colour, shade 3"),
      response_format: zodResponseFormat(Paint, "paint"),
    };
    const made = await client.chat.completions.parse(ask);
    const streamed = await client.chat.completions.stream(ask).finalChatCompletion();
    return {
      paint: made.choices[0].message.parsed,
      streamed: streamed.choices[0].message.parsed,
    };
  },

  async choices() {
    return client.chat.completions.create({
      model: LOCAL,
      messages: said("Tell me about rivers."),
      n: 3,
      seed: 7,
      max_tokens: 8,
      logprobs: true,
      top_logprobs: 2,
    });
  },

  async embeddings() {
    const input = ["a river", "the same river"];
    const usual = await client.embeddings.create({ model: "auto", input });
    const plain = await client.embeddings.create({
      model: "auto",
      input,
      encoding_format: "float",
    });
    const gaps = usual.data.flatMap((one, i) =>
      one.embedding.map((x, j) => Math.abs(x - plain.data[i].embedding[j])),
    );
    return { sizes: usual.data.map((one) => one.embedding.length), apart: Math.max(...gaps) };
  },

  async responses() {
    const ask = { model: LOCAL, input: "Say hello.", max_output_tokens: 8 };
    const made = await client.responses.create(ask);
    const kinds = [];
    let deltas = "";
    for await (const event of await client.responses.create({ ...ask, stream: true })) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") deltas += event.delta;
    }
    const painted = {
      model: LOCAL,
      input: "The sky's colour, shade 3",
      text: { format: zodTextFormat(Paint, "paint") },
    };
    const parsed = await client.responses.parse(painted);
    const final = await client.responses.stream(painted).finalResponse();
    return {
      text: made.output_text,
      status: made.status,
      kinds,
      deltas,
      final: final.output_parsed,
      parsed: parsed.output_parsed,
    };
  },

  async models() {
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    return { listed, one: await client.models.retrieve(LOCAL) };
  },

  async errors() {
    const body = { messages: said("hi"), max_tokens: 1 };
    const wrong = client.withOptions({ apiKey: "adc_wrong" });
    const attempts = {
      model: () => client.chat.completions.create({ model: "gpt-4o", ...body }),
      token: () => wrong.chat.completions.create({ model: LOCAL, ...body }),
      stays: () => client.chat.completions.create({ model: "general", ...body }),
      param: () =>
        client.chat.completions.create({ model: LOCAL, logit_bias: { 5: 10 }, ...body }),
      streamed: () => client.chat.completions.create({ model: "gpt-4o", stream: true, ...body }),
    };
    const found = {};
    for (const [name, attempt] of Object.entries(attempts)) {
      try {
        await attempt();
      } catch (error) {
        const { status, param, code, type } = error;
        found[name] = { class: error.constructor.name, status, param, code, type };
      }
    }
    return found;
  },

  async cancelled() {
    const story = { model: LOCAL, messages: said("Write a long story."), max_tokens: 1000 };
    const held = await client.chat.completions.create({ ...story, stream: true });
    for await (const chunk of held) if (chunk.choices[0]?.delta?.content) break;
    held.controller.abort();
    const aborting = new AbortController();
    let refused = null;
    try {
      for await (const chunk of await client.chat.completions.create(
        { ...story, stream: true },
        { signal: aborting.signal },
      ))
        if (chunk.choices[0]?.delta?.content) aborting.abort();
    } catch (error) {
      refused = error.constructor.name;
    }
    const short = await client.chat.completions.create({
      model: LOCAL,
      messages: said("hi"),
      max_tokens: 1,
    });
    return { refused, short: short.choices[0].finish_reason };
  },
};

const got = {};
for (const name of process.argv.slice(2)) got[name] = await parts[name]();
console.log(JSON.stringify(got));
