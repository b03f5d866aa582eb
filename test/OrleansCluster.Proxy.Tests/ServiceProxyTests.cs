using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using OrleansCluster.Proxy.Rules;
using OrleansCluster.Proxy.Tests.Rules;

namespace OrleansCluster.Proxy.Tests;

public sealed class ServiceProxyTests : IAsyncLifetime
{
    private readonly FakeTimeProvider _time = new();
    private readonly FakeFeed _feed = new();
    private readonly FakeBackend _backend = new();
    private ServiceProxy? _proxy;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        if (_proxy is not null)
        {
            await _proxy.StopAsync(CancellationToken.None);
            _proxy.Dispose();
        }
    }

    [Fact]
    public async Task Nothing_is_applied_before_the_first_complete_set()
    {
        await StartAsync();
        await _feed.SendAsync(complete: false, Service("web"));
        await _feed.SendAsync(complete: true, Service("api", "10.96.0.11"));

        var rules = await _backend.NextAsync();

        // The first sync is of the complete set, which does not name `web`.
        Assert.Equal(["api"], rules.Select(static r => r.Key.Name));
        Assert.Equal(1, _proxy!.Status.Syncs);
    }

    [Fact]
    public async Task An_empty_complete_set_is_applied()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true);

        Assert.Empty(await _backend.NextAsync());
    }

    [Fact]
    public async Task A_burst_after_a_sync_becomes_one_sync_after_the_interval()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true, Service("a"));
        await _backend.NextAsync();
        for (var i = 0; i < 20; i++)
            await _feed.SendAsync(complete: false, Service($"b{i}", $"10.96.1.{i}"));
        await _feed.ReadAllAsync();

        var next = _backend.NextAsync();
        Assert.False(next.IsCompleted);
        await AdvanceUntilAsync(TimeSpan.FromMilliseconds(50), next);

        Assert.Equal(21, (await next).Length);
        Assert.Equal(2, _backend.Calls);
    }

    [Fact]
    public async Task A_complete_set_drops_what_it_does_not_name()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true, Service("a"), Service("b", "10.96.0.11"), Slice("s", "a"));
        Assert.Equal(2, (await _backend.NextAsync()).Length);
        await _feed.SendAsync(complete: true, Service("a"));
        var next = _backend.NextAsync();
        await AdvanceUntilAsync(TimeSpan.FromMilliseconds(50), next);

        var rule = Assert.Single(await next);
        Assert.Empty(rule.Endpoints);
    }

    [Fact]
    public async Task A_deleted_object_is_gone()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true, Service("a"), Slice("s", "a"));
        Assert.Single((await _backend.NextAsync())[0].Endpoints);
        await _feed.SendAsync(complete: false, new ServiceFeedItem(ServiceFeedResource.EndpointSlice, "default", "s", default));
        var next = _backend.NextAsync();
        await AdvanceUntilAsync(TimeSpan.FromMilliseconds(50), next);

        Assert.Empty((await next)[0].Endpoints);
    }

    [Fact]
    public async Task A_malformed_object_leaves_its_last_good_state()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true, Service("a"), Slice("s", "a"));
        await _backend.NextAsync();
        await _feed.SendAsync(
            complete: false, new ServiceFeedItem(ServiceFeedResource.EndpointSlice, "default", "s", "{"u8.ToArray()), Service("b", "10.96.0.11"));
        var next = _backend.NextAsync();
        await AdvanceUntilAsync(TimeSpan.FromMilliseconds(50), next);

        Assert.Single((await next)[0].Endpoints);
    }

    [Fact]
    public async Task A_failed_sync_is_repeated_with_the_latest_rules_after_a_growing_pause()
    {
        await StartAsync();
        _backend.Failures = 3;
        await _feed.SendAsync(complete: true, Service("a"));
        await _backend.AttemptedAsync(1);
        await _feed.SendAsync(complete: false, Service("b", "10.96.0.11"));
        await _feed.ReadAllAsync();

        var next = _backend.NextAsync();
        var waited = await AdvanceUntilAsync(TimeSpan.FromMilliseconds(10), next);

        Assert.Equal(2, (await next).Length);
        Assert.Equal(3, _proxy!.Status.Failures);
        Assert.Null(_proxy.Status.LastError);
        // 100 + 200 + 400 ms, each with up to 25 % less by jitter. (Only a lower bound: the clock runs on while others work.)
        Assert.True(waited.TotalMilliseconds >= 525, $"Only {waited}.");
    }

    [Fact]
    public async Task A_lost_feed_keeps_the_rules_and_is_read_again()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true, Service("a"));
        await _backend.NextAsync();

        _feed.Break(new IOException("gone"));
        var again = _feed.OpenedAsync(2);
        await AdvanceUntilAsync(TimeSpan.FromMilliseconds(50), again);
        Assert.Equal(1, _proxy!.Status.FeedFailures);
        Assert.Equal(1, _backend.Calls);

        await _feed.SendAsync(complete: true, Service("a"), Service("b", "10.96.0.11"));
        var next = _backend.NextAsync();
        await AdvanceUntilAsync(TimeSpan.FromMilliseconds(50), next);
        Assert.Equal(2, (await next).Length);
        Assert.True(_proxy.Status.IsFeedConnected);
    }

    [Fact]
    public async Task A_host_that_lost_its_rules_is_synced_at_the_next_check()
    {
        await StartAsync();
        await _feed.SendAsync(complete: true, Service("a"));
        await _backend.NextAsync();
        _backend.IsIntact = false;

        var next = _backend.NextAsync();
        var waited = await AdvanceUntilAsync(TimeSpan.FromSeconds(1), next);

        Assert.Single(await next);
        Assert.True(waited >= TimeSpan.FromSeconds(29), $"Already after {waited}.");
    }

    [Fact]
    public async Task Stop_leaves_the_rules_unless_told_to_remove_them()
    {
        await StartAsync();
        await _proxy!.StopAsync(Token);
        Assert.Equal(["stop"], _backend.Ends);

        var removing = new FakeBackend();
        using var other = Create(removing, o => o.RemoveOnStop = true);
        await other.StartAsync(Token);
        await removing.SelectedAsync();
        await other.StopAsync(Token);
        Assert.Equal(["remove"], removing.Ends);
    }

    [Fact]
    public void Backoff_doubles_up_to_its_bound_with_jitter_and_starts_again_after_a_success()
    {
        var backoff = new Backoff(TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(1), new Random(3));
        double[] expected = [100, 200, 400, 800, 1000, 1000];

        Assert.All(expected, e => Assert.InRange(backoff.Next().TotalMilliseconds, e * 0.75, e * 1.25));
        backoff.Reset();
        Assert.InRange(backoff.Next().TotalMilliseconds, 75, 125);
    }

    [Fact]
    public void Options_defaults_are_valid_and_every_problem_is_named()
    {
        var validator = new ServiceProxyOptions.Validator();

        Assert.True(validator.Validate(null, new ServiceProxyOptions()).Succeeded);
        var failures = validator.Validate(null, new ServiceProxyOptions
        {
            ServiceCidr = "10.96.0.0/33",
            TableName = "a; flush ruleset",
            MinSyncInterval = TimeSpan.FromSeconds(-1),
            CheckInterval = TimeSpan.Zero,
            MaxRetryDelay = TimeSpan.FromMilliseconds(1),
            MaxConnections = 0,
        }).Failures!;
        Assert.Equal(
            ["ServiceCidr", "TableName", "MinSyncInterval", "CheckInterval", "MaxRetryDelay", "MaxConnections"],
            failures.Select(static f => f[..f.IndexOf(':', StringComparison.Ordinal)]));
    }

    private async Task StartAsync()
    {
        _proxy = Create(_backend, static _ => { });
        await _proxy.StartAsync(Token);
        await _feed.OpenedAsync(1);
    }

    private ServiceProxy Create(FakeBackend backend, Action<ServiceProxyOptions> configure)
    {
        var options = new ServiceProxyOptions();
        configure(options);
        return new ServiceProxy(_feed, backend, Options.Create(options), _time, new Random(1), NullLogger<ServiceProxy>.Instance);
    }

    // Timers are armed by other threads; advancing in small steps meets them whenever they are.
    private async Task<TimeSpan> AdvanceUntilAsync(TimeSpan step, Task awaited)
    {
        var from = _time.GetUtcNow();
        while (!awaited.IsCompleted)
        {
            Token.ThrowIfCancellationRequested();
            _time.Advance(step);
            await _backend.SettleAsync();
        }

        return _time.GetUtcNow() - from;
    }

    private static ServiceFeedItem Service(string name, string ip = "10.96.0.10") =>
        new(ServiceFeedResource.Service, "default", name, Objects.Service(name, ip));

    private static ServiceFeedItem Slice(string name, string service) =>
        new(ServiceFeedResource.EndpointSlice, "default", name, Objects.ReadySlice(name, service, "10.0.0.1"));

    private sealed class FakeFeed : IServiceFeed
    {
        private readonly Channel<int> _openings = Channel.CreateUnbounded<int>();
        private Channel<ServiceFeedBatch> _batches = Channel.CreateUnbounded<ServiceFeedBatch>();
        private int _sent;
        private int _read;
        private int _opened;

        public async IAsyncEnumerable<ServiceFeedBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
        {
            _batches = Channel.CreateUnbounded<ServiceFeedBatch>();
            await _openings.Writer.WriteAsync(Interlocked.Increment(ref _opened), cancellationToken);
            await foreach (var batch in _batches.Reader.ReadAllAsync(cancellationToken))
            {
                yield return batch;
                Interlocked.Increment(ref _read); // Only now has the consumer come back for more.
            }
        }

        public async Task OpenedAsync(int times)
        {
            while (await _openings.Reader.ReadAsync(Token) < times)
            {
            }
        }

        public ValueTask SendAsync(bool complete, params ServiceFeedItem[] items)
        {
            Interlocked.Increment(ref _sent);
            return _batches.Writer.WriteAsync(new ServiceFeedBatch(complete, items), Token);
        }

        public void Break(Exception cause) => _batches.Writer.Complete(cause);

        public async Task ReadAllAsync()
        {
            while (Volatile.Read(ref _read) < Volatile.Read(ref _sent))
                await Task.Yield();
        }
    }

    private sealed class FakeBackend : IProxyBackend, IProxyBackendSelector
    {
        private readonly Channel<ImmutableArray<ServiceRule>> _syncs = Channel.CreateUnbounded<ImmutableArray<ServiceRule>>();
        private readonly TaskCompletionSource _selected = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _attempts;

        public int Failures { get; set; }

        public bool IsIntact { get; set; } = true;

        public int Calls { get; private set; }

        public List<string> Ends { get; } = [];

        public Task<(ServiceProxyMode Mode, IProxyBackend Backend)> SelectAsync(CancellationToken cancellationToken)
        {
            _selected.TrySetResult();
            return Task.FromResult((ServiceProxyMode.UserSpace, (IProxyBackend)this));
        }

        public Task SelectedAsync() => _selected.Task;

        public Task<bool> SyncAsync(ImmutableArray<ServiceRule> rules, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _attempts);
            if (Failures-- > 0)
                throw new ProxyBackendException("no");
            Calls++;
            _syncs.Writer.TryWrite(rules);
            return Task.FromResult(true);
        }

        public Task<bool> CheckAsync(CancellationToken cancellationToken) => Task.FromResult(IsIntact);

        public Task StopAsync(CancellationToken cancellationToken)
        {
            Ends.Add("stop");
            return Task.CompletedTask;
        }

        public Task RemoveAsync(CancellationToken cancellationToken)
        {
            Ends.Add("remove");
            return Task.CompletedTask;
        }

        public Task<ImmutableArray<ServiceRule>> NextAsync() => _syncs.Reader.ReadAsync(Token).AsTask();

        public async Task AttemptedAsync(int times)
        {
            while (Volatile.Read(ref _attempts) < times)
                await Task.Yield();
        }

        // Lets continuations that a timer released run before time goes on.
        public async Task SettleAsync()
        {
            for (var i = 0; i < 200; i++)
                await Task.Yield();
        }
    }
}
