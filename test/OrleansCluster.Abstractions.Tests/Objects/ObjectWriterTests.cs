using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.Abstractions.Tests.Support;
using OrleansCluster.Api;

namespace OrleansCluster.Abstractions.Tests.Objects;

public sealed class ObjectWriterTests
{
    private static readonly ResourceRegistry Registry = new(BuiltInResources.All);
    private static readonly ObjectKey Key = new("configmaps", "default", "a");

    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static JsonObject Named(string name) => new() { ["metadata"] = new JsonObject { ["namespace"] = "default", ["name"] = name } };

    private static JsonObject Generated(string prefix) =>
        new() { ["metadata"] = new JsonObject { ["namespace"] = "default", ["generateName"] = prefix } };

    private ObjectWriter Writer(ScriptedGrains grains) => new(grains.Factory, _time, UserInfo.ControlPlane, new Random(7));

    [Fact]
    public async Task Create_AnUnknownOutcome_IsRepeatedWithTheSameUidAndBody()
    {
        Func<Exception>[] losses =
        [
            () => new TimeoutException(), () => new SiloUnavailableException(), () => new SiloUnavailableException("gone"),
        ];
        var grains = new ScriptedGrains(call => call.Number <= losses.Length ? throw losses[call.Number - 1]() : ScriptedGrains.Stored(call));

        var reply = await _time.RunAsync(Writer(grains).CreateAsync(Registry.Get("configmaps"), Named("a"), Cancellation));

        Assert.Equal(4, reply.Revision);
        Assert.Equal(4, grains.Calls.Count);
        Assert.Single(grains.Calls.Select(c => c.Request.NewUid).Distinct());
        Assert.NotEqual(Guid.Empty, grains.Calls[0].Request.NewUid);
        Assert.Single(grains.Calls.Select(c => c.Body.ToJsonString()).Distinct());
        Assert.All(grains.Calls, c => Assert.Equal("configmaps/default/a", c.Key));
    }

    [Fact]
    public async Task Execute_NoSiloEverAnswers_GivesUpAndSaysTheOutcomeIsUnknown()
    {
        var grains = new ScriptedGrains(_ => throw new SiloUnavailableException());

        var error = await Assert.ThrowsAsync<StatusException>(
            () => _time.RunAsync(Writer(grains).PatchAsync(Key, new JsonObject(), "", Cancellation)));

        Assert.False(grains.Calls[0].Request.Repeated);
        Assert.All(grains.Calls.Skip(1), c => Assert.True(c.Request.Repeated));
        Assert.Single(grains.Calls.Select(c => c.Request.RequestId).Distinct());
        Assert.InRange(grains.Calls.Count, 10, 60);
        Assert.Equal(504, error.Status.Code);
        Assert.Contains("unknown", error.Status.Message, StringComparison.Ordinal);
        Assert.Contains("configmaps", error.Status.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Execute_TheCallerCancels_EndsWithoutMoreAttempts()
    {
        using var stop = new CancellationTokenSource();
        var grains = new ScriptedGrains(_ =>
        {
            stop.Cancel();
            throw new TimeoutException();
        });

        await Assert.ThrowsAsync<TimeoutException>(() => Writer(grains).PatchAsync(Key, new JsonObject(), "", stop.Token));

        Assert.Single(grains.Calls);
    }

    [Fact]
    public async Task Execute_ABrokenGrain_IsNotRepeated()
    {
        var grains = new ScriptedGrains(_ => throw new InvalidOperationException("a bug"));

        await Assert.ThrowsAsync<InvalidOperationException>(() => Writer(grains).PatchAsync(Key, new JsonObject(), "", Cancellation));

        Assert.Single(grains.Calls);
    }

    [Fact]
    public async Task Create_AGeneratedNameIsTaken_TriesAnotherWithAUidOfItsOwn()
    {
        var taken = StatusError.AlreadyExists("configmaps", "", "x");
        var grains = new ScriptedGrains(call => call.Number < 3 ? ScriptedGrains.Refused(taken) : ScriptedGrains.Stored(call));

        await Writer(grains).CreateAsync(Registry.Get("configmaps"), Generated("web-"), Cancellation);

        Assert.Equal(3, grains.Calls.Select(c => c.Key).Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(3, grains.Calls.Select(c => c.Request.NewUid).Distinct().Count());
        Assert.All(grains.Calls, c => Assert.Matches("^configmaps/default/web-[bcdfghjklmnpqrstvwxz2456789]{5}$", c.Key));
    }

    [Fact]
    public async Task Create_EveryGeneratedNameIsTaken_EndsWithAlreadyExists()
    {
        var grains = new ScriptedGrains(_ => ScriptedGrains.Refused(StatusError.AlreadyExists("configmaps", "", "x")));

        var error = await Assert.ThrowsAsync<StatusException>(
            () => Writer(grains).CreateAsync(Registry.Get("configmaps"), Generated("web-"), Cancellation));

        Assert.Equal(409, error.Status.Code);
        Assert.Equal(ObjectWriter.MaxGeneratedNames, grains.Calls.Count);
    }

    [Fact]
    public async Task Create_AGivenNameIsTaken_IsRefusedAtOnce()
    {
        var grains = new ScriptedGrains(_ => ScriptedGrains.Refused(StatusError.AlreadyExists("configmaps", "", "a")));

        await Assert.ThrowsAsync<StatusException>(() => Writer(grains).CreateAsync(Registry.Get("configmaps"), Named("a"), Cancellation));

        Assert.Single(grains.Calls);
    }

    [Fact]
    public async Task Delete_WhatIsNotThere_IsNull()
    {
        var grains = new ScriptedGrains(_ => ScriptedGrains.Refused(StatusError.NotFound("configmaps", "", "a")));

        Assert.Null(await Writer(grains).DeleteAsync(Key, new DeleteOptions(), Cancellation));
    }

    [Fact]
    public async Task Delete_OptionsAndPreconditions_AreSent()
    {
        var grains = new ScriptedGrains(ScriptedGrains.Stored);

        await Writer(grains).DeleteAsync(
            Key,
            new DeleteOptions { GracePeriodSeconds = 0, PropagationPolicy = "Orphan", PreconditionUid = "u", PreconditionResourceVersion = "5" },
            Cancellation);

        Assert.Equal(
            """{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"propagationPolicy":"Orphan","preconditions":{"uid":"u","resourceVersion":"5"}}""",
            grains.Calls.Single().Body.ToJsonString());
    }

    [Fact]
    public async Task Requests_CarryTheWritersUser()
    {
        var grains = new ScriptedGrains(ScriptedGrains.Stored);
        var user = new UserInfo("jane", ["dev", "ops"], "7");

        await new ObjectWriter(grains.Factory, _time, user).UpdateAsync(Key, Named("a"), "status", Cancellation);

        var request = grains.Calls.Single().Request;
        Assert.Equal(("jane", "dev,ops", "7", "status"), (request.UserName, string.Join(',', request.UserGroups), request.UserUid, request.Subresource));
    }

    [Theory]
    [InlineData("web-", "web-")]
    [InlineData("", "")]
    public void GeneratedName_IsThePrefixAndFiveCharacters(string prefix, string head)
    {
        var name = GeneratedName.Make(prefix, new Random(1));

        Assert.StartsWith(head, name, StringComparison.Ordinal);
        Assert.Equal(head.Length + 5, name.Length);
    }

    [Fact]
    public void GeneratedName_OfALongPrefix_IsAtMostALabelLong()
    {
        Assert.Equal(63, GeneratedName.Make(new string('a', 300)).Length);
    }
}
