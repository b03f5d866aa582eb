using Microsoft.Extensions.DependencyInjection;
using Orleans.Serialization;

namespace OrleansCluster.Tests;

/// <summary>
/// Messages as earlier versions have written them, read by this one. A line of the file is `version alias members bytes`. Lines are only added: with
/// RECORD_MESSAGES=VERSION the test adds those of messages that have members no line has yet.
/// </summary>
public sealed class RecordedMessageTests : IDisposable
{
    private static readonly string File = Path.Combine(ContractTests.Root(), "test", "OrleansCluster.Tests", "Contracts", "recorded-messages.txt");

    private readonly ServiceProvider _services = new ServiceCollection().AddSerializer().BuildServiceProvider();

    private Serializer Serializer => _services.GetRequiredService<Serializer>();

    public void Dispose() => _services.Dispose();

    [Fact]
    public async Task WhatEarlierVersionsHaveWritten_IsRead()
    {
        var lines = Lines(await ReadAsync());
        if (Environment.GetEnvironmentVariable("RECORD_MESSAGES") is { Length: > 0 } version)
        {
            var added = SampleMessage.Types
                .Select(t => (Alias: SampleMessage.Alias(t), Ids: Ids(t), Type: t))
                .Where(t => !lines.Any(l => l.Alias == t.Alias && l.Ids == t.Ids))
                .Select(t => $"{version} {t.Alias} {t.Ids} {Convert.ToBase64String(Serializer.SerializeToArray<object>(SampleMessage.Of(t.Type)))}");
            await System.IO.File.AppendAllLinesAsync(File, added, TestContext.Current.CancellationToken);
            lines = Lines(await ReadAsync());
        }
        var types = SampleMessage.Types.ToDictionary(SampleMessage.Alias, StringComparer.Ordinal);
        Assert.Equal(types.Keys.Order(StringComparer.Ordinal), lines.Select(l => l.Alias).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal));
        Assert.All(lines, line =>
        {
            var type = types[line.Alias];
            var message = Serializer.Deserialize<object>(Convert.FromBase64String(line.Bytes));
            Assert.IsType(type, message);
            var expected = SampleMessage.Of(type);
            var written = line.Ids.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(uint.Parse).ToHashSet();
            foreach (var (id, member) in SampleMessage.Members(type))
            {
                if (written.Contains(id))
                    Assert.Equal(SampleMessage.Show(member.GetValue(expected)), SampleMessage.Show(member.GetValue(message)));
            }
            Assert.Empty(written.Except(SampleMessage.Members(type).Select(m => m.Id)));
        });
    }

    [Fact]
    public void AMemberThatTheReaderDoesNotKnow_IsSkipped()
    {
        var newer = new NewerNote { Name = "a", Count = 3, Tags = ["x", "y"], Inner = new NewerNote { Name = "b" } };
        var read = Serializer.Deserialize<OlderNote>(Serializer.SerializeToArray(newer))!;
        Assert.Equal(("a", 3), (read.Name, read.Count));
    }

    [Fact]
    public void AMemberThatTheSenderDidNotKnow_HasItsDefault()
    {
        var read = Serializer.Deserialize<NewerNote>(Serializer.SerializeToArray(new OlderNote { Name = "a", Count = 3 }))!;
        Assert.Equal(("a", 3), (read.Name, read.Count));
        Assert.Equal(["none"], read.Tags);
        Assert.Null(read.Inner);
    }

    private static string Ids(Type type) => string.Join(',', SampleMessage.Members(type).Select(m => m.Id));

    private static async Task<string[]> ReadAsync() => System.IO.File.Exists(File) ? await System.IO.File.ReadAllLinesAsync(File, TestContext.Current.CancellationToken) : [];

    private static (string Alias, string Ids, string Bytes)[] Lines(string[] text) => [.. text.Select(l => l.Split(' ')).Select(p => (p[1], p[2], p[3]))];
}

/// <summary>A message of an older version.</summary>
[GenerateSerializer, Alias("OrleansCluster.Tests.OlderNote")]
public sealed record OlderNote
{
    /// <summary>A name.</summary>
    [Id(0)] public required string Name { get; init; }

    /// <summary>A number.</summary>
    [Id(1)] public int Count { get; init; }
}

/// <summary>The same message of a newer version, with two members more.</summary>
[GenerateSerializer, Alias("OrleansCluster.Tests.NewerNote")]
public sealed record NewerNote
{
    /// <summary>A name.</summary>
    [Id(0)] public required string Name { get; init; }

    /// <summary>A number.</summary>
    [Id(1)] public int Count { get; init; }

    /// <summary>New, with a default that means an older sender.</summary>
    [Id(2)] public string[] Tags { get; init; } = ["none"];

    /// <summary>New, and a message itself.</summary>
    [Id(3)] public NewerNote? Inner { get; init; }
}
