using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace OrleansCluster.Storage.Tests.Redis;

/// <summary>The model test on Redis. Leases outlive the store, since other processes may hold them.</summary>
public sealed class RedisModelTests(RedisFixture redis) : StoreModelTests
{
    protected override int Iterations => 40;

    protected override async Task<Subject> MakeAsync(int[] steps, FakeTimeProvider time)
    {
        var options = await redis.OptionsAsync();
        options.MaxGroup = 1 + (steps[0] % 4);
        return new KeysSubject(options, (await redis.ServerAsync()).Port, time);
    }

    private sealed class KeysSubject(RedisStoreOptions options, int port, FakeTimeProvider time) : Subject
    {
        public override bool LeasesEndWithTheProcess => false;

        public override Task<IObjectStore> OpenAsync() =>
            Task.FromResult<IObjectStore>(RedisObjectStore.Create(options, time, new Random(1), NullLogger<RedisObjectStore>.Instance));

        /// <summary>The server forgets every script: each is sent whole again, and nothing else changes.</summary>
        public override async Task FailAsync(IObjectStore store, IReadOnlyList<string> freeClaims) =>
            Assert.StartsWith("+OK", await RedisServer.CommandAsync(port, "SCRIPT FLUSH", Token), StringComparison.Ordinal);
    }
}
